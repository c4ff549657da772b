"""Every journal beside the ledger, event by event: both come sorted by subject, and are read side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.fsck.finding import Finding, Span
from epicrisis.fsck.ledger import FETCH, Known
from epicrisis.sql import queries

_SQL = queries("epicrisis.fsck")

Events = list[tuple[int, bytes]]
"""Seq and SHA-256 of the value of each."""


class Journal:
    """One service's journal, read along the ledger. ``behind`` counts what has not come to the ledger yet."""

    def __init__(self, name: str, connection: psycopg.Connection[Any], span: Span, found: list[Finding]) -> None:
        self.name, self.behind = name, 0
        self._found = found
        self._subjects = self._read(connection, span)
        self._next = next(self._subjects, None)

    def _read(self, connection: psycopg.Connection[Any], span: Span) -> Iterator[tuple[bytes, Events]]:
        with connection.cursor(name="fsck_journal", binary=True) as cur:
            cur.itersize = FETCH
            cur.execute(_SQL["journal"], span.parameters(), binary=True)
            for subject, rows in groupby(cur, key=itemgetter(0)):
                yield subject, self._events(subject, rows)

    def beside(self, known: Known) -> None:
        """Compare with the ledger's next subject."""
        self._only_here(known.subject)
        ours: Events = []
        if self._next is not None and self._next[0] == known.subject:
            ours = self._next[1]
            self._next = next(self._subjects, None)
        theirs = known.streams.get(self.name, []) if ours or self.name in known.recent else []
        if ours != theirs:
            self._compare(UUID(bytes=known.subject), dict(ours), dict(theirs))

    def rest(self) -> None:
        """After the ledger's last subject."""
        self._only_here(None)

    def _only_here(self, before: bytes | None) -> None:
        while self._next is not None and (before is None or self._next[0] < before):
            self.behind += len(self._next[1])
            self._next = next(self._subjects, None)

    def _events(self, subject: bytes, rows: Iterable[Any]) -> Events:
        """The numbers must go from 1 to where the head says."""
        events, ends = Events(), False
        for _, seq, value, ends in rows:  # noqa: B007
            events.append((seq, sha256(value).digest()))
        if not ends or any(seq != expected for expected, (seq, _) in enumerate(events, 1)):
            self._say("out of order, a gap, or the head is elsewhere", UUID(bytes=subject), None)
        return events

    def _compare(self, subject: UUID, ours: dict[int, bytes], theirs: dict[int, bytes]) -> None:
        last = max(theirs, default=0)
        for seq in sorted(ours.keys() | theirs.keys()):
            if seq not in theirs:
                if seq > last:
                    self.behind += 1
                else:
                    self._say("the ledger does not have it", subject, seq)
            elif seq not in ours:
                self._say("only the ledger has it", subject, seq)
            elif ours[seq] != theirs[seq]:
                self._say("the ledger has another value", subject, seq)

    def _say(self, problem: str, subject: UUID, seq: int | None) -> None:
        self._found.append(Finding(check="journals", problem=problem, subject=subject, source=self.name, seq=seq))
