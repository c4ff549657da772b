"""The journal in PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.database import Database
from epicrisis.errors import Conflict
from epicrisis.journal.api import Append, Appended, Claim, History, Stored
from epicrisis.slices import slice_of
from epicrisis.sql import queries

_SQL = queries(__package__ or "epicrisis.journal")
_COLUMNS = ["int8", "timestamptz", "uuid", "uuid", "int2", "text", "text", "bytea"]


class PostgresJournal:
    """See `Journal`. ``on_append(slices)`` is called after each commit: the wake-up of a relay in this process."""

    def __init__(
        self, name: str, database: Database, on_append: Callable[[Collection[int]], None] | None = None
    ) -> None:
        self.name = name
        self._database = database
        self._on_append = on_append

    def load(self, wanted: Mapping[UUID, Collection[str]]) -> dict[UUID, History]:
        with self._database.session() as cur:
            cur.execute(_SQL["heads"], {"subjects": list(wanted)})
            heads: dict[UUID, int] = dict(cur.fetchall())
            pairs = [(subject, stream) for subject in heads for stream in wanted[subject]]
            found: defaultdict[UUID, dict[str, list[Stored]]] = defaultdict(dict)
            if pairs:
                cur.execute(_SQL["streams"], {"subjects": [p[0] for p in pairs], "streams": [p[1] for p in pairs]})
                for subject, stream, id_, seq, value in cur:
                    found[subject].setdefault(stream, []).append(Stored(id_, seq, value))
        return {subject: History(heads.get(subject, 0), found.get(subject, {})) for subject in wanted}

    def append(
        self,
        appends: Sequence[Append],
        claims: Sequence[Claim] = (),
        members: Collection[tuple[UUID, str]] = (),
    ) -> Appended:
        slices = sorted({slice_of(a.subject) for a in appends})
        try:
            with self._database.transaction() as cur:
                cur.execute(_SQL["lock"], {"slices": slices})
                repeated = self._already(cur, appends)
                if repeated:
                    return repeated
                self._move_heads(cur, appends)
                if claims:
                    self._claim(cur, claims)
                if members:
                    rows = sorted(members, key=lambda m: (m[0].bytes, m[1]))
                    cur.execute(_SQL["admit"], {"subjects": [m[0] for m in rows], "operators": [m[1] for m in rows]})
                with cur.copy(_SQL["copy_events"]) as copy:
                    copy.set_types(_COLUMNS)
                    for a in appends:
                        at = slice_of(a.subject)
                        for e in a.events:
                            copy.write_row((e.seq, e.recorded, a.subject, e.id, at, e.type, e.stream, e.value))
                cur.execute(_SQL["move_tails"], {"slices": slices})
        except psycopg.errors.DeadlockDetected:
            raise Conflict(f"{self.name}: two messages were in each other's way") from None
        if self._on_append:
            self._on_append(slices)
        return Appended({e.id: e.seq for a in appends for e in a.events}, repeated=False)

    def _already(self, cur: psycopg.Cursor[Any], appends: Sequence[Append]) -> Appended | None:
        """The first result, where these very events are in the journal already (looked up by their streams)."""
        events = [e for a in appends for e in a.events]
        cur.execute(_SQL["heads"], {"subjects": [a.subject for a in appends]})
        if not cur.fetchone():
            return None
        cur.execute(_SQL["appended_ids"], {"ids": [e.id for e in events], "streams": list({e.stream for e in events})})
        seqs = {id_: seq for id_, _, seq in cur}
        if not seqs:
            return None
        if len(seqs) < len(events):
            raise Conflict(f"{self.name}: some of these events were appended before, others were not")
        return Appended(seqs, repeated=True)

    def _move_heads(self, cur: psycopg.Cursor[Any], appends: Sequence[Append]) -> None:
        moved = 0
        fresh = [a for a in appends if a.expected == 0]
        known = [a for a in appends if a.expected > 0]
        if fresh:
            cur.execute(
                _SQL["begin_heads"],
                {"subjects": [a.subject for a in fresh], "counts": [len(a.events) for a in fresh]},
            )
            moved += len(cur.fetchall())
        if known:
            cur.execute(
                _SQL["move_heads"],
                {
                    "subjects": [a.subject for a in known],
                    "expected": [a.expected for a in known],
                    "counts": [len(a.events) for a in known],
                },
            )
            moved += len(cur.fetchall())
        if moved < len(appends):
            raise Conflict(f"{self.name}: somebody else appended first")

    def _claim(self, cur: psycopg.Cursor[Any], claims: Sequence[Claim]) -> None:
        wanted = {c.digest: c.resource_id for c in claims}
        digests = sorted(wanted)
        cur.execute(_SQL["claim"], {"digests": digests, "ids": [wanted[d] for d in digests]})
        taken = wanted.keys() - {bytes(d) for (d,) in cur}
        if taken:
            cur.execute(_SQL["identified"], {"digests": list(taken)})
            if any(wanted[bytes(d)] != id_ for d, id_ in cur):
                raise Conflict(f"{self.name}: an identifier was claimed for somebody else first")

    def known(self, streams: Collection[str]) -> dict[str, UUID]:
        with self._database.session() as cur:
            cur.execute(_SQL["known_streams"], {"streams": list(streams)})
            return dict(cur.fetchall())

    def who(
        self, digests: Collection[bytes], subjects: Collection[UUID]
    ) -> tuple[dict[bytes, UUID], set[tuple[UUID, str]]]:
        found: dict[bytes, UUID] = {}
        members: set[tuple[UUID, str]] = set()
        with self._database.session() as cur:
            cur.execute(_SQL["who"], {"digests": list(digests), "subjects": list(subjects)})
            for digest, resource_id, operator in cur:
                if digest is not None:
                    found[bytes(digest)] = resource_id
                if operator is not None:
                    members.add((resource_id, operator))
        return found, members

    def after(self, subject: UUID, first: int, last: int) -> list[bytes]:
        with self._database.session() as cur:
            cur.execute(_SQL["after"], {"slice": slice_of(subject), "subject": subject, "first": first, "last": last})
            return [value for (value,) in cur]
