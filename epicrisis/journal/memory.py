"""A journal in memory: the same contract as PostgreSQL's, for tests and simulation."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from epicrisis.codec.writing import long
from epicrisis.errors import Conflict
from epicrisis.journal.api import Append, Appended, Claim, History, Naming, NewEvent, Stored, Unnumbered
from epicrisis.journal.outgoing import Row
from epicrisis.slices import slice_of


class MemoryJournal:
    """See `Journal`. Safe for several threads. ``rows`` and ``tails`` are what its relay reads, by slice."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.log: list[tuple[UUID, NewEvent]] = []
        self.rows: defaultdict[int, list[Row]] = defaultdict(list)
        self.tails: dict[int, int] = {}
        self.position = 0
        self._lock = threading.Lock()
        self._events: defaultdict[UUID, list[NewEvent]] = defaultdict(list)
        self._claims: dict[bytes, UUID] = {}
        self._members: set[tuple[UUID, str]] = set()
        self._namings: dict[tuple[bytes, UUID], Naming] = {}

    def load(self, wanted: Mapping[UUID, Collection[str]]) -> dict[UUID, History]:
        with self._lock:
            return {
                subject: History(
                    len(self._events[subject]),
                    {
                        stream: [Stored(e.id, e.seq, e.value) for e in self._events[subject] if e.stream == stream]
                        for stream in streams
                    },
                )
                for subject, streams in wanted.items()
            }

    def append(
        self,
        appends: Sequence[Append],
        claims: Sequence[Claim] = (),
        members: Collection[tuple[UUID, str]] = (),
    ) -> Appended:
        with self._lock:
            found = self._check(appends, claims)
            return found or self._write(appends, claims, members, self._number(appends))

    def append_next(self, events: Sequence[Unnumbered]) -> None:
        with self._lock:
            for e in events:
                seq = len(self._events[e.subject]) + 1
                new = NewEvent(e.id, seq, e.stream, e.type, e.recorded, e.before + long(seq) + e.after)
                appends = [Append(e.subject, seq - 1, [new])]
                self._write(appends, (), (), self._number(appends))

    def _check(self, appends: Sequence[Append], claims: Sequence[Claim]) -> Appended | None:
        """The first result, where these events are here already; raises `Conflict` where they may not be appended."""
        ids = {e.id for a in appends for e in a.events}
        there = {e.id: e.seq for a in appends for e in self._events[a.subject] if e.id in ids}
        if ids and there.keys() == ids:
            return Appended(there, repeated=True)
        if there or any(len(self._events[a.subject]) != a.expected for a in appends):
            raise Conflict(f"{self.name}: somebody else appended first")
        if any(self._claims.get(c.digest, c.resource_id) != c.resource_id for c in claims):
            raise Conflict(f"{self.name}: an identifier was claimed for somebody else first")
        return None

    def _number(self, appends: Sequence[Append]) -> int:
        """Give the events their ``pos``; the first of them."""
        first = self.position + 1
        self.position += sum(len(a.events) for a in appends)
        return first

    def _write(
        self, appends: Sequence[Append], claims: Sequence[Claim], members: Collection[tuple[UUID, str]], first: int
    ) -> Appended:
        pos = first
        for a in appends:
            at = slice_of(a.subject)
            self._events[a.subject].extend(a.events)
            self._namings.update(((n.digest, n.resource_id), n) for n in a.namings)
            for e in a.events:
                self.log.append((a.subject, e))
                self.rows[at].append(Row(at, pos, e.seq, e.recorded, a.subject, e.id, e.type, e.value))
                pos += 1
        self.tails.update((slice_of(a.subject), pos - 1) for a in appends)
        self._claims.update((c.digest, c.resource_id) for c in claims)
        self._members.update(members)
        return Appended({e.id: e.seq for a in appends for e in a.events}, repeated=False)

    def known(self, streams: Collection[str]) -> dict[str, UUID]:
        with self._lock:
            return {e.stream: subject for subject, e in self.log if e.stream in streams}

    def who(
        self, digests: Collection[bytes], subjects: Collection[UUID]
    ) -> tuple[dict[bytes, UUID], set[tuple[UUID, str]]]:
        with self._lock:
            found = {d: self._claims[d] for d in digests if d in self._claims}
            about = {*subjects, *found.values()}
            return found, {m for m in self._members if m[0] in about}

    def named(self, digests: Collection[bytes]) -> list[Naming]:
        with self._lock:
            return [naming for naming in self._namings.values() if naming.digest in digests]

    def after(self, subject: UUID, first: int, last: int) -> list[bytes]:
        with self._lock:
            return [e.value for e in self._events[subject] if first <= e.seq <= last]
