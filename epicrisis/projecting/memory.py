"""The workers' side of the cluster database, in memory: the same contract, for tests and simulation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.audit.chain import ENTRY
from epicrisis.event import replace
from epicrisis.locks import Locks
from epicrisis.projecting.store import Archived, Held, Move, Parked, Saved, Who
from epicrisis.projection import SHAPED_BY, Key, Place, Projection

Name = tuple[Any, ...]
Rows = dict[Name, Any]


class MemoryStore:
    """See `Store`. Everything committed is in ``rows``, by what it is and its key; of counters there is a row a shard.
    Which event shaped a row is under ``SHAPED_BY`` and the row's own name.

    Transactions read what is committed at that moment (and their own writes) and lock offsets, as PostgreSQL does.
    """

    def __init__(self, locks: Locks | None = None) -> None:
        self.locks = locks or Locks()
        self.rows: Rows = {}
        self._ids = 0

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        at = self.begin()
        try:
            yield at
            self.commit(at)
        finally:
            self.locks.free(at)

    def begin(self) -> MemoryTransaction:
        """A transaction that has done nothing yet."""
        return MemoryTransaction(self)

    def commit(self, at: MemoryTransaction) -> None:
        """Everybody sees what this transaction has written.

        Raises
        ------
        psycopg.errors.UniqueViolation
            Another one has archived the same event, or parked it, meanwhile.
        """
        for name in at.inserted:
            if name in self.rows:
                raise psycopg.errors.UniqueViolation(f"there is one already: {name[0]}")
        for name, row in at.written.items():
            if row is None:
                self.rows.pop(name, None)
            else:
                self.rows[name] = row
        for name, increment in at.added.items():
            self.rows[name] = _sum(self.rows.get(name), increment, at.sums[name])

    def next_id(self) -> int:
        """A number that nobody has had."""
        self._ids += 1
        return self._ids


class MemoryTransaction:
    """See `Transaction`. ``written`` replaces rows (None removes one), ``added`` is added to them."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.written: Rows = {}
        self.inserted: set[Name] = set()
        self.added: Rows = {}
        self.sums: dict[Name, tuple[str, ...]] = {}

    def _row(self, name: Name) -> Any:
        return self.written[name] if name in self.written else self._store.rows.get(name)

    def _all(self, kind: str) -> Iterator[tuple[Name, Any]]:
        for name, row in self._store.rows.items():
            if name[0] == kind and name not in self.written:
                yield name, row
        for name, row in self.written.items():
            if name[0] == kind and row is not None:
                yield name, row

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        before = dict(self.written), set(self.inserted), dict(self.added)
        try:
            yield
        except BaseException:
            self.written, self.inserted, self.added = before
            raise

    def _lock(self, consumers: Collection[str], partitions: Collection[int]) -> list[Name]:
        names: list[Name] = [("offset", c, p) for c in sorted(consumers) for p in sorted(partitions)]
        self._store.locks.take(self, names)
        return names

    def take(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, tuple[int, int]]:
        taken: dict[Held, tuple[int, int]] = {}
        for name in self._lock(consumers, partitions):
            next_offset, epoch = self._row(name) or (0, 0)
            self.written[name] = taken[name[1], name[2]] = next_offset, epoch + 1
        return taken

    def hold(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, int]:
        held = {(name[1], name[2]): self._row(name) for name in self._lock(consumers, partitions)}
        return {place: row[1] for place, row in held.items() if row is not None}

    def move(self, moves: Sequence[Move]) -> int:
        moved = 0
        for m in moves:
            (name,) = self._lock([m.consumer], [m.partition])
            if self._row(name) == (m.old, m.epoch):
                self.written[name] = m.new, m.epoch
                moved += 1
        return moved

    def positions(self, consumers: Collection[str], subjects: Collection[UUID]) -> dict[Who, dict[str, int]]:
        wanted = [(c, s) for s in subjects for c in consumers]
        found = {who: self._row(("position", *who)) for who in wanted}
        return {who: dict(seqs) for who, seqs in found.items() if seqs is not None}

    def save_positions(self, seqs: Sequence[tuple[str, UUID, Mapping[str, int]]]) -> None:
        for consumer, subject, one in seqs:
            self.written["position", consumer, subject] = dict(one)

    def parked(self, consumers: Collection[str], subjects: Collection[UUID]) -> Collection[Who]:
        found = dict.fromkeys((name[1], name[2]) for name, _ in self._all("parked"))
        return [who for who in found if who[0] in consumers and who[1] in subjects]

    def park(self, consumer: str, subject: UUID, event: Parked) -> None:
        name = "parked", consumer, subject, event.source, event.seq
        if self._row(name) is None:
            self.written[name] = event._replace(id=self._store.next_id())
            self.inserted.add(name)

    def queue(self, consumer: str, subject: UUID) -> list[Parked]:
        return sorted(event for name, event in self._all("parked") if name[1:3] == (consumer, subject))

    def unpark(self, ids: Collection[int]) -> None:
        for name, event in list(self._all("parked")):
            if event.id in ids:
                self.written[name] = None
                self.inserted.discard(name)

    def still(self, id_: int, reason: str) -> None:
        for name, event in list(self._all("parked")):
            if event.id == id_:
                self.written[name] = event._replace(reason=reason)

    def first_reasons(self, consumers: Collection[str], partitions: Collection[int]) -> list[tuple[str, UUID, str]]:
        first: dict[Who, Parked] = {}
        for (_, consumer, subject, *_), event in self._all("parked"):
            if consumer in consumers and event.partition in partitions:
                who = consumer, subject
                first[who] = min(first.get(who, event), event)
        return sorted((*who, event.reason) for who, event in first.items())

    def parked_count(self, consumer: str) -> int:
        return len({name[2] for name, _ in self._all("parked") if name[1] == consumer})

    def set_aside(
        self, topic: str, partition: int, offset: int, reason: str, key: bytes | None, value: bytes | None
    ) -> None:
        name = "poison", topic, partition, offset
        if self._row(name) is None:
            self.written[name] = reason, key, value

    def load(self, projection: Projection, keys: Mapping[str, Collection[Key]]) -> dict[Place, Any]:
        schema = projection.schema
        places = [(table, key) for table, some in keys.items() for key in some]
        return {place: row for place in places if (row := self._row((schema, *place))) is not None}

    def save(self, projection: Projection, rows: Mapping[str, Sequence[Saved]]) -> None:
        sums = {table.name: table.sums for table in projection.tables.values()}
        for table, some in rows.items():
            for key, row, by, _ in some:
                if sums[table]:
                    name = projection.schema, table, (*key, by)
                    self.added[name] = _sum(self.added.get(name), row, sums[table])
                    self.sums[name] = sums[table]
                else:
                    self.written[projection.schema, table, key] = row
                    self.written[SHAPED_BY, projection.schema, table, key] = None if row is None else by

    def chains(self, subjects: Collection[UUID]) -> dict[UUID, tuple[int, bytes]]:
        found = {subject: self._row(("chain", subject)) for subject in subjects}
        return {subject: chain for subject, chain in found.items() if chain is not None}

    def grow(self, entries: Mapping[int, bytes]) -> dict[int, int]:
        first = {}
        for partition, some in entries.items():
            first[partition] = size = self._row(("tree", partition)) or 0
            self.written["tree", partition] = size + len(some) // ENTRY
            self.written["entries", partition, size] = some
            self.inserted.add(("entries", partition, size))
        return first

    def archive(self, events: Sequence[Archived], chains: Mapping[UUID, tuple[int, bytes]]) -> None:
        for event in events:
            name = "event", event.subject, event.source, event.seq
            if self._row(name) is not None:
                raise psycopg.errors.UniqueViolation("this event is in the ledger already")
            self.written[name] = event
            self.inserted.add(name)
        for subject, chain in chains.items():
            self.written["chain", subject] = chain


def _sum(row: Any, increment: Any, sums: tuple[str, ...]) -> Any:
    if row is None:
        return increment
    return replace(increment, **{c: getattr(row, c) + getattr(increment, c) for c in sums})
