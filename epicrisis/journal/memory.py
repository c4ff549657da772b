"""A journal in memory: the same contract as PostgreSQL's, for tests and simulation."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from epicrisis.errors import Conflict
from epicrisis.journal.api import Append, Appended, Claim, History, NewEvent, Stored


class MemoryJournal:
    """See `Journal`. Safe for several threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.log: list[tuple[UUID, NewEvent]] = []
        self._lock = threading.Lock()
        self._events: defaultdict[UUID, list[NewEvent]] = defaultdict(list)
        self._claims: dict[bytes, UUID] = {}
        self._members: set[tuple[UUID, str]] = set()

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
            ids = {e.id for a in appends for e in a.events}
            there = {e.id: e.seq for a in appends for e in self._events[a.subject] if e.id in ids}
            if ids and there.keys() == ids:
                return Appended(there, repeated=True)
            if there or any(len(self._events[a.subject]) != a.expected for a in appends):
                raise Conflict(f"{self.name}: somebody else appended first")
            if any(self._claims.get(c.digest, c.resource_id) != c.resource_id for c in claims):
                raise Conflict(f"{self.name}: an identifier was claimed for somebody else first")
            for a in appends:
                self._events[a.subject].extend(a.events)
                self.log.extend((a.subject, e) for e in a.events)
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

    def after(self, subject: UUID, first: int, last: int) -> list[bytes]:
        with self._lock:
            return [e.value for e in self._events[subject] if first <= e.seq <= last]
