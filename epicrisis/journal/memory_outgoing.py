"""The relay's side of a journal in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from epicrisis.event import SLICES
from epicrisis.journal.memory import MemoryJournal
from epicrisis.journal.outgoing import SHARES, Move, News, Row
from epicrisis.locks import Locks

Lease = tuple[int, UUID | None, float]
"""Epoch, owner, and until when."""


class MemoryOutgoing:
    """See `Outgoing`. ``clock`` is the clock of the database."""

    def __init__(
        self, journal: MemoryJournal, clock: Callable[[], float] = time.monotonic, locks: Locks | None = None
    ) -> None:
        self.journal = journal
        self.clock = clock
        self.locks = locks or Locks()
        self.cursors: dict[int, int] = {}
        self.leases: dict[int, Lease] = {share: (0, None, float("-inf")) for share in range(SHARES)}
        self.members: dict[UUID, float] = {}

    @contextmanager
    def look(self) -> Iterator[MemoryLook]:
        yield MemoryLook(self)

    @contextmanager
    def transaction(self) -> Iterator[MemoryLeasing]:
        at = MemoryLeasing(self)
        try:
            yield at
            self.commit(at)
        finally:
            self.locks.free(at)

    def commit(self, at: MemoryLeasing) -> None:
        """Everybody sees what this transaction has written."""
        self.cursors.update(at.cursors)
        self.leases.update(at.leases)
        for owner, seen in at.members.items():
            if seen is None:
                self.members.pop(owner, None)
            else:
                self.members[owner] = seen

    def close(self) -> None:
        pass


class MemoryLook:
    """See `Look`."""

    def __init__(self, outgoing: MemoryOutgoing) -> None:
        self._outgoing = outgoing

    def position(self) -> int:
        return self._outgoing.journal.position

    def news(self, shares: Collection[int]) -> list[News]:
        tails, cursors = self._outgoing.journal.tails, self._outgoing.cursors
        all_ = (News(slice_, cursors.get(slice_, 0), tail) for slice_, tail in tails.items())
        return [n for n in all_ if n.tail > n.cursor and share_of(n.slice) in shares]

    def fresh(self, news: Sequence[News], limit: int) -> list[Row]:
        rows = self._outgoing.journal.rows
        return [row for n in news for row in sorted(r for r in rows[n.slice] if r.pos > n.cursor)[:limit]]


class MemoryLeasing:
    """See `Leasing`. Leases are locked as a whole, and so are cursors."""

    def __init__(self, outgoing: MemoryOutgoing) -> None:
        self._outgoing = outgoing
        self.cursors: dict[int, int] = {}
        self.leases: dict[int, Lease] = {}
        self.members: dict[UUID, float | None] = {}

    def _lease(self, share: int) -> Lease:
        return self.leases.get(share) or self._outgoing.leases[share]

    def _member_seen(self) -> dict[UUID, Any]:
        return {o: seen for o, seen in {**self._outgoing.members, **self.members}.items() if seen is not None}

    def join(self, owner: UUID, seconds: float) -> int:
        self._outgoing.locks.take(self, ["leases"])
        now = self._outgoing.clock()
        self.members.update((o, None) for o, seen in self._member_seen().items() if seen < now - seconds)
        self.members[owner] = now
        return len(self._member_seen())

    def leave(self, owner: UUID) -> None:
        self.members[owner] = None

    def renew(self, owner: UUID, seconds: float) -> dict[int, int]:
        self._outgoing.locks.take(self, ["leases"])
        now = self._outgoing.clock()
        for share in range(SHARES):
            epoch, by, until = self._lease(share)
            if by == owner and until >= now:
                self.leases[share] = epoch, owner, now + seconds
        return {share: lease[0] for share, lease in self.leases.items()}

    def acquire(self, owner: UUID, seconds: float, limit: int) -> dict[int, int]:
        self._outgoing.locks.take(self, ["leases"])
        now = self._outgoing.clock()
        free = [share for share in range(SHARES) if self._lease(share)[2] < now][:limit]
        for share in free:
            self.leases[share] = self._lease(share)[0] + 1, owner, now + seconds
        return {share: self.leases[share][0] for share in free}

    def release(self, owner: UUID, shares: Collection[int]) -> None:
        self._outgoing.locks.take(self, ["leases"])
        for share in shares:
            epoch, by, _ = self._lease(share)
            if by == owner:
                self.leases[share] = epoch, None, float("-inf")

    def move(self, moves: Sequence[Move], epochs: Mapping[int, int]) -> int:
        self._outgoing.locks.take(self, ["cursors"])
        mine = [m for m in moves if self._lease(share_of(m.slice))[0] == epochs.get(share_of(m.slice))]
        moved = {m.slice: m.new for m in mine if self._outgoing.cursors.get(m.slice, 0) == m.old}
        self.cursors.update(moved)
        return len(moved)


def share_of(slice_: int) -> int:
    """The share that a slice is leased with."""
    return slice_ // (SLICES // SHARES)
