"""What a worker keeps in the cluster database: offsets, positions, parked events, rows, the ledger.

`PostgresStore` and `MemoryStore` keep it; one test suite runs on both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from epicrisis.projection import Key, Place, Projection

Held = tuple[str, int]
"""A consumer and a partition."""
Who = tuple[str, UUID]
"""A consumer and a subject."""


Saved = tuple[Key, Any, int, bool]
"""A key, its row, None where that goes, the number of the event that shaped it (of a counter's the shard in which it is
added up), and whether it is known that there is no such row yet.
"""


class Move(NamedTuple):
    """A consumer's offset in a partition, from where it was to where it goes, under this epoch."""

    consumer: str
    partition: int
    old: int
    epoch: int
    new: int


class Parked(NamedTuple):
    """An event that waits in its subject's queue. ``id`` orders the queue."""

    id: int
    partition: int
    offset: int
    source: str
    seq: int
    reason: str
    value: bytes


class Archived(NamedTuple):
    """An event of the ledger: ``n`` counts the subject's events over all services, ``leaf`` those of its partition."""

    leaf: int
    recorded: datetime
    subject: UUID
    seq: int
    n: int
    slice: int
    source: str
    link: bytes
    value: bytes


class Transaction(Protocol):
    """Everything below happens in one transaction, which the store's context commits or rolls back."""

    def savepoint(self) -> AbstractContextManager[Any]:
        """What happens inside is undone alone where it raises."""
        ...

    # Offsets

    def take(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, tuple[int, int]]:
        """Become the one who may move these offsets: the next offset and the new epoch of each."""
        ...

    def hold(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, int]:
        """Lock these offsets until the end of the transaction; their epochs."""
        ...

    def move(self, moves: Sequence[Move]) -> int:
        """Move offsets that are where they were, under the same epoch; how many did."""
        ...

    # Positions

    def positions(self, consumers: Collection[str], subjects: Collection[UUID]) -> dict[Who, dict[str, int]]:
        """The last ``seq`` applied, by service."""
        ...

    def save_positions(self, seqs: Sequence[tuple[str, UUID, Mapping[str, int]]]) -> None:
        """What has been applied now, in the order given."""
        ...

    # Parking

    def parked(self, consumers: Collection[str], subjects: Collection[UUID]) -> Collection[Who]:
        """Which of these subjects are parked, for whom."""
        ...

    def park(self, consumer: str, subject: UUID, event: Parked) -> None:
        """Queue an event (``event.id`` is not looked at); one that is queued already stays as it is."""
        ...

    def queue(self, consumer: str, subject: UUID) -> list[Parked]:
        """The waiting events, in order."""
        ...

    def unpark(self, ids: Collection[int]) -> None:
        """These have been applied."""
        ...

    def still(self, id_: int, reason: str) -> None:
        """Why the first event of a queue still waits."""
        ...

    def first_reasons(self, consumers: Collection[str], partitions: Collection[int]) -> list[tuple[str, UUID, str]]:
        """Consumer, subject and the reason of the first event of every queue."""
        ...

    def parked_count(self, consumer: str) -> int:
        """How many subjects are parked."""
        ...

    def set_aside(
        self, topic: str, partition: int, offset: int, reason: str, key: bytes | None, value: bytes | None
    ) -> None:
        """Keep a record that belongs to no subject, as it came."""
        ...

    # Rows

    def load(self, projection: Projection, keys: Mapping[str, Collection[Key]]) -> dict[Place, Any]:
        """The rows of these keys, by table name; absent ones are left out."""
        ...

    def save(self, projection: Projection, rows: Mapping[str, Sequence[Saved]]) -> None:
        """Write rows, by table name; of counters these are increments."""
        ...

    # The ledger

    def chains(self, subjects: Collection[UUID]) -> dict[UUID, tuple[int, bytes]]:
        """Where the chains of these subjects stand: their ``n`` and their last link."""
        ...

    def grow(self, entries: Mapping[int, bytes]) -> dict[int, int]:
        """Add entries (see `entry_of`) to these partitions' trees; the index of the first one of each."""
        ...

    def archive(self, events: Sequence[Archived], chains: Mapping[UUID, tuple[int, bytes]]) -> None:
        """Add events, and say where the chains stand now."""
        ...


class Store(Protocol):
    """The cluster database, as workers use it."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Committed at the end, rolled back on any error."""
        ...
