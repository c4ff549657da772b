"""The journal in PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from epicrisis.database import Database
from epicrisis.errors import Conflict
from epicrisis.grouped import Grouped
from epicrisis.journal.api import Append, Appended, Claim, History, Naming, NewEvent, Stored, Unnumbered
from epicrisis.slices import slice_of
from epicrisis.sql import array, queries

_SQL = queries(__package__ or "epicrisis.journal")
_COLUMNS = ["timestamptz", "uuid", "int4", "int2", "int2", "int2", "bytea"]
_Columns = tuple[datetime, UUID, int, int, int, int, bytes]
FEW = 32
"""Up to so many events go in one call; of more, copying them is what costs."""
GROUP = 256
"""So many events of several such appends go in one transaction."""

_Wanted = Mapping[UUID, Collection[str]]
_Names = tuple[Collection[bytes], Collection[UUID]]
_Found = tuple[dict[bytes, UUID], set[tuple[UUID, str]]]


class PostgresJournal:
    """See `Journal`. ``on_append(slices)`` is called after each commit: the wake-up of a relay in this process.

    Share one between threads: what they ask at the same moment is asked once, and small appends are one transaction.
    """

    def __init__(
        self, name: str, database: Database, on_append: Callable[[Collection[int]], None] | None = None
    ) -> None:
        self.name = name
        self._database = database
        self._on_append = on_append
        self._load: Grouped[_Wanted, dict[UUID, History]] = Grouped(self._load_all)
        self._who: Grouped[_Names, _Found] = Grouped(self._who_all)
        self._append: Grouped[_Part, bool] = Grouped(self._append_all, size=lambda part: len(part.rows), most=GROUP)

    def load(self, wanted: _Wanted) -> dict[UUID, History]:
        return self._load(wanted)

    def _load_all(self, some: Sequence[_Wanted]) -> list[dict[UUID, History]]:
        together: defaultdict[UUID, set[str]] = defaultdict(set)
        for wanted in some:
            for subject, streams in wanted.items():
                together[subject].update(streams)
        found = self._histories(together)
        return [
            {
                subject: History(
                    found[subject].head, {s: e for s in streams if (e := found[subject].streams.get(s)) is not None}
                )
                for subject, streams in wanted.items()
            }
            for wanted in some
        ]

    def _histories(self, wanted: _Wanted) -> dict[UUID, History]:
        pairs = [(subject, stream) for subject, streams in wanted.items() for stream in streams]
        heads: dict[UUID, int] = {}
        found: defaultdict[UUID, dict[str, list[Stored]]] = defaultdict(dict)
        with self._database.session() as cur:
            cur.execute(
                _SQL["history"],
                {"all": array(wanted), "subjects": array(p[0] for p in pairs), "streams": [p[1] for p in pairs]},
            )
            for subject, head, stream, id_, seq, value in cur:
                heads[subject] = head
                if stream is not None:
                    found[subject].setdefault(stream, []).append(Stored(id_, seq, value))
        return {subject: History(heads.get(subject, 0), found.get(subject, {})) for subject in wanted}

    def append(
        self,
        appends: Sequence[Append],
        claims: Sequence[Claim] = (),
        members: Collection[tuple[UUID, str]] = (),
    ) -> Appended:
        slices = sorted({slice_of(a.subject) for a in appends})
        rows = [_columns(a.subject, e) for a in appends for e in a.events]
        part = _Part(slices, appends, claims, members, rows)
        if not (self._append(part) if 0 < len(rows) <= FEW else self._append_many(part)):
            if repeated := self._already(appends):
                return repeated
            raise Conflict(f"{self.name}: somebody else appended first, or claimed an identifier")
        if self._on_append:
            self._on_append(slices)
        return Appended({e.id: e.seq for a in appends for e in a.events}, repeated=False)

    def _append_all(self, parts: Sequence[_Part]) -> list[bool]:
        """Several small appends in one transaction; where one of them cannot be, each on its own."""
        try:
            with self._database.session() as cur:
                rows = [row for part in parts for row in part.rows]
                named = _named(parts)
                query = _SQL["append_few_named" if named else "append_few"]
                cur.execute(query, _prepared(parts) | _arrays(rows) | named)
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            return [False] if len(parts) == 1 else [self._append_all([part])[0] for part in parts]
        return [True] * len(parts)

    def _append_many(self, part: _Part) -> bool:
        try:
            with self._database.framed(_SQL["prepare"], _SQL["move_tails"], _prepared([part])) as cur:
                row = cur.fetchone()
                if not row or not row[0]:
                    raise psycopg.Rollback
                if named := _named([part]):
                    cur.execute(_SQL["name"], named)
                if part.rows:
                    with cur.copy(_SQL["copy_events"]) as copy:
                        copy.set_types(_COLUMNS)
                        for columns in part.rows:
                            copy.write_row(columns)
        except (psycopg.Rollback, psycopg.errors.DeadlockDetected):
            return False
        return True

    def append_next(self, events: Sequence[Unnumbered]) -> None:
        slices = [slice_of(e.subject) for e in events]
        locked = sorted(set(slices))
        places = [_place(e.stream, e.after) for e in events]
        given = {
            "slices": array(locked),
            "recorded": array(f'"{e.recorded.isoformat()}"' for e in events),
            "subjects": array(e.subject for e in events),
            "event_slices": array(slices),
            "streams_at": array(at for at, _ in places),
            "stream_lengths": array(length for _, length in places),
            "befores": array(f'"\\\\x{e.before.hex()}"' for e in events),
            "afters": array(f'"\\\\x{e.after.hex()}"' for e in events),
        }  # all of it as text: to look at each list would take psycopg twice the time of all the rest
        with self._database.session() as cur:
            cur.execute(_SQL["append_next"], given)
        if self._on_append:
            self._on_append(locked)

    def _already(self, appends: Sequence[Append]) -> Appended | None:
        """The first result, where all these events are in the journal already (looked up by their streams)."""
        events = [e for a in appends for e in a.events]
        with self._database.session() as cur:
            streams = list({e.stream for e in events})
            cur.execute(_SQL["appended_ids"], {"ids": array(e.id for e in events), "streams": streams})
            seqs = {id_: seq for id_, _, seq in cur}
        return Appended(seqs, repeated=True) if events and len(seqs) == len(events) else None

    def known(self, streams: Collection[str]) -> dict[str, UUID]:
        with self._database.session() as cur:
            cur.execute(_SQL["known_streams"], {"streams": list(streams)})
            return dict(cur.fetchall())

    def who(self, digests: Collection[bytes], subjects: Collection[UUID]) -> _Found:
        return self._who((digests, subjects))

    def _who_all(self, some: Sequence[_Names]) -> list[_Found]:
        found: dict[bytes, UUID] = {}
        members: set[tuple[UUID, str]] = set()
        wanted = list({digest for digests, _ in some for digest in digests})
        about = array({subject for _, subjects in some for subject in subjects})
        with self._database.session() as cur:
            cur.execute(_SQL["who"], {"digests": wanted, "subjects": about})
            for digest, resource_id, operator in cur:
                if digest is not None:
                    found[bytes(digest)] = resource_id
                if operator is not None:
                    members.add((resource_id, operator))
        return [_asked_for(names, found, members) for names in some]

    def named(self, digests: Collection[bytes]) -> list[Naming]:
        with self._database.session() as cur:
            cur.execute(_SQL["named"], {"digests": list(digests)})
            return [Naming(bytes(digest), *rest) for digest, *rest in cur]

    def after(self, subject: UUID, first: int, last: int) -> list[bytes]:
        with self._database.session() as cur:
            cur.execute(_SQL["after"], {"slice": slice_of(subject), "subject": subject, "first": first, "last": last})
            return [value for (value,) in cur]


class _Part(NamedTuple):
    """One append, ready for a transaction."""

    slices: Sequence[int]
    appends: Sequence[Append]
    claims: Sequence[Claim]
    members: Collection[tuple[UUID, str]]
    rows: Sequence[_Columns]


def _asked_for(names: _Names, found: Mapping[bytes, UUID], members: Collection[tuple[UUID, str]]) -> _Found:
    """Of what was found for several, what one of them asked for."""
    mine = {digest: found[digest] for digest in names[0] if digest in found}
    about = {*mine.values(), *names[1]}
    return mine, {member for member in members if member[0] in about}


def _prepared(parts: Sequence[_Part]) -> dict[str, Any]:
    """What the query `prepare` asks for: events are only looked up where their subjects have some already."""
    appends = [a for part in parts for a in part.appends]
    known = [e for a in appends if a.expected for e in a.events]
    wanted = sorted({(c.digest, c.resource_id) for part in parts for c in part.claims})
    admitted = sorted({m for part in parts for m in part.members}, key=lambda m: (m[0].bytes, m[1]))
    return {
        "slices": array(sorted({slice for part in parts for slice in part.slices})),
        "subjects": array(a.subject for a in appends),
        "expected": array(a.expected for a in appends),
        "counts": array(len(a.events) for a in appends),
        "ids": array(e.id for e in known),
        "streams": list({e.stream for e in known}),
        "digests": [digest for digest, _ in wanted],
        "resources": array(resource for _, resource in wanted),
        "admitted": array(subject for subject, _ in admitted),
        "operators": [operator for _, operator in admitted],
    }


def _named(parts: Sequence[_Part]) -> dict[str, Any]:
    """What the query `name` asks for; nothing where no resource is found by a shared identifier."""
    namings = {(n.digest, n.resource_id): n.recorded for part in parts for a in part.appends for n in a.namings}
    if not namings:
        return {}
    wanted = sorted(namings.items())
    return {
        "named": array(f'"\\\\x{digest.hex()}"' for (digest, _), _ in wanted),
        "named_resources": array(resource for (_, resource), _ in wanted),
        "named_recorded": array(f'"{recorded.isoformat()}"' for _, recorded in wanted),
    }


def _columns(subject: UUID, event: NewEvent) -> _Columns:
    at, length = _place(event.stream, event.value)
    return event.recorded, subject, event.seq, slice_of(subject), at, length, event.value


def _place(stream: str, value: bytes) -> tuple[int, int]:
    """Where in a value its stream stands, counted from 1, and how long it is; see 09_event.sql."""
    text = stream.encode()
    return value.index(text) + 1, len(text)


def _arrays(rows: Sequence[_Columns]) -> dict[str, Any]:
    """What the query `append_few` asks for besides."""
    recorded, owners, seqs, slices, streams_at, stream_lengths, values = zip(*rows, strict=True)
    return {
        "recorded": list(recorded),
        "owners": array(owners),
        "seqs": array(seqs),
        "event_slices": array(slices),
        "streams_at": array(streams_at),
        "stream_lengths": array(stream_lengths),
        "values": list(values),
    }
