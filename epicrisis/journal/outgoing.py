"""A journal as its relay sees it: what is new, how far it was sent, and who may send it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

SHARES = 16
"""Into how many shares of 64 slices a journal is divided for its relays."""


class Row(NamedTuple):
    """An event as the relay sees it."""

    slice: int
    pos: int
    seq: int
    recorded: datetime
    subject: UUID
    id: UUID
    type: str
    value: bytes


class News(NamedTuple):
    """A slice whose tail is ahead of the relay's cursor."""

    slice: int
    cursor: int
    tail: int


class Move(NamedTuple):
    """A slice's cursor, from where it was read to where it may go."""

    slice: int
    old: int
    new: int


class Look(Protocol):
    """Single reads, each of what is committed at that moment."""

    def position(self) -> int:
        """The last ``pos`` given to anybody, committed or not."""
        ...

    def news(self, shares: Collection[int]) -> list[News]:
        """The slices of these shares whose tail is ahead of their cursor."""
        ...

    def fresh(self, news: Sequence[News], limit: int) -> list[Row]:
        """What follows the cursors of these slices, in order of ``pos``, at most ``limit`` of each."""
        ...


class Leasing(Protocol):
    """One transaction over leases and cursors."""

    def join(self, owner: UUID, seconds: float) -> int:
        """Say that this relay is alive, forget those that are not; how many are alive."""
        ...

    def leave(self, owner: UUID) -> None:
        """This relay stops."""
        ...

    def renew(self, owner: UUID, seconds: float) -> dict[int, int]:
        """Keep the leases that are this relay's and have not run out: epoch by share."""
        ...

    def acquire(self, owner: UUID, seconds: float, limit: int) -> dict[int, int]:
        """Take leases that nobody holds, at most ``limit``, each with a new epoch."""
        ...

    def release(self, owner: UUID, shares: Collection[int]) -> None:
        """Give leases back."""
        ...

    def move(self, moves: Sequence[Move], epochs: Mapping[int, int]) -> int:
        """Move the cursors that are where they were read, of shares whose epoch is still this one; how many did."""
        ...


class Outgoing(Protocol):
    """The relay's side of one journal. `PostgresOutgoing` and `MemoryOutgoing` are it."""

    def look(self) -> AbstractContextManager[Look]:
        """Reads without a transaction: one round trip each."""
        ...

    def transaction(self) -> AbstractContextManager[Leasing]:
        """Committed at the end, rolled back on any error."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...
