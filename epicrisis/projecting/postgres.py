"""The workers' side of the cluster database, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from epicrisis.database import Database
from epicrisis.projecting.store import Archived, Held, Move, Parked, Saved, Who
from epicrisis.projecting.tables import TableStore
from epicrisis.projection import Key, Place, Projection
from epicrisis.sql import queries

_SQL = queries("epicrisis.projecting")
_LEDGER = queries("epicrisis.ledger")
_COLUMNS = ["int8", "timestamptz", "uuid", "int4", "int4", "int2", "text", "bytea", "bytea"]

Tables = dict[str, dict[str, TableStore]]


class PostgresStore:
    """See `Store`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._tables: Tables = {}

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        with self.database.transaction() as cur:
            yield PostgresTransaction(cur, self._tables)


class PostgresTransaction:
    """See `Transaction`. ``cur`` is for what only PostgreSQL is asked. ``tables``: what was learnt of them before."""

    def __init__(self, cur: psycopg.Cursor[Any], tables: Tables | None = None) -> None:
        self.cur = cur
        self._tables = {} if tables is None else tables

    def savepoint(self) -> AbstractContextManager[Any]:
        return self.cur.connection.transaction()

    def take(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, tuple[int, int]]:
        self.cur.execute(_SQL["join"], _places(consumers, partitions))
        self.cur.execute(_SQL["take"], _places(consumers, partitions))
        return {(c, p): (next_offset, epoch) for c, p, next_offset, epoch in self.cur}

    def hold(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, int]:
        self.cur.execute(_SQL["hold"], _places(consumers, partitions))
        return {(consumer, partition): epoch for consumer, partition, epoch in self.cur}

    def move(self, moves: Sequence[Move]) -> int:
        self.cur.execute(
            _SQL["move"],
            {
                "consumers": [m.consumer for m in moves],
                "partitions": [m.partition for m in moves],
                "old": [m.old for m in moves],
                "epochs": [m.epoch for m in moves],
                "new": [m.new for m in moves],
            },
        )
        return len(self.cur.fetchall())

    def positions(self, consumers: Collection[str], subjects: Collection[UUID]) -> dict[Who, dict[str, int]]:
        self.cur.execute(_SQL["positions"], _whose(consumers, subjects))
        return {(consumer, subject): seqs for consumer, subject, seqs in self.cur}

    def save_positions(self, seqs: Sequence[tuple[str, UUID, Mapping[str, int]]]) -> None:
        self.cur.execute(
            _SQL["save_positions"],
            {
                "consumers": [consumer for consumer, _, _ in seqs],
                "subjects": [subject for _, subject, _ in seqs],
                "seqs": [Jsonb(one) for _, _, one in seqs],
            },
        )

    def parked(self, consumers: Collection[str], subjects: Collection[UUID]) -> Collection[Who]:
        self.cur.execute(_SQL["parked_subjects"], _whose(consumers, subjects))
        return self.cur.fetchall()

    def park(self, consumer: str, subject: UUID, event: Parked) -> None:
        self.cur.execute(_SQL["park"], {"consumer": consumer, "subject": subject, **event._asdict()})

    def queue(self, consumer: str, subject: UUID) -> list[Parked]:
        self.cur.execute(_SQL["queue"], {"consumer": consumer, "subject": subject})
        return [Parked(*row) for row in self.cur]

    def unpark(self, ids: Collection[int]) -> None:
        self.cur.execute(_SQL["unpark"], {"ids": list(ids)})

    def still(self, id_: int, reason: str) -> None:
        self.cur.execute(_SQL["still"], {"id": id_, "reason": reason})

    def first_reasons(self, consumers: Collection[str], partitions: Collection[int]) -> list[tuple[str, UUID, str]]:
        self.cur.execute(_SQL["first_reasons"], _places(consumers, partitions))
        return self.cur.fetchall()

    def parked_count(self, consumer: str) -> int:
        self.cur.execute(_SQL["parked_count"], {"consumer": consumer})
        row = self.cur.fetchone()
        return row[0] if row else 0

    def set_aside(
        self, topic: str, partition: int, offset: int, reason: str, key: bytes | None, value: bytes | None
    ) -> None:
        record = {"topic": topic, "partition": partition, "offset": offset, "reason": reason}
        self.cur.execute(_SQL["set_aside"], {**record, "key": key, "value": value})

    def load(self, projection: Projection, keys: Mapping[str, Collection[Key]]) -> dict[Place, Any]:
        stores, rows = self._stores(projection), dict[Place, Any]()
        for name, wanted in keys.items():
            stores[name].load(self.cur, wanted, rows)
        return rows

    def save(self, projection: Projection, rows: Mapping[str, Sequence[Saved]]) -> None:
        stores = self._stores(projection)
        for name, some in rows.items():
            stores[name].write(self.cur, some)

    def _stores(self, projection: Projection) -> dict[str, TableStore]:
        found = self._tables.get(projection.schema)
        if found is None:
            found = {table.name: TableStore(projection, table) for table in projection.tables.values()}
            self._tables[projection.schema] = found
        return found

    def chains(self, subjects: Collection[UUID]) -> dict[UUID, tuple[int, bytes]]:
        self.cur.execute(_LEDGER["heads"], {"subjects": list(subjects)})
        return {subject: (n, link) for subject, n, link in self.cur}

    def grow(self, entries: Mapping[int, bytes]) -> dict[int, int]:
        self.cur.execute(_LEDGER["grow"], {"partitions": list(entries), "entries": list(entries.values())})
        return dict(self.cur.fetchall())

    def archive(self, events: Sequence[Archived], chains: Mapping[UUID, tuple[int, bytes]]) -> None:
        with self.cur.copy(_LEDGER["copy_events"]) as copy:
            copy.set_types(_COLUMNS)
            for event in events:
                copy.write_row(event)
        moved = sorted(chains.items(), key=lambda chain: chain[0].bytes)
        self.cur.execute(
            _LEDGER["save_heads"],
            {
                "subjects": [subject for subject, _ in moved],
                "numbers": [n for _, (n, _) in moved],
                "links": [link for _, (_, link) in moved],
            },
        )


def _places(consumers: Collection[str], partitions: Collection[int]) -> dict[str, Any]:
    return {"consumers": list(consumers), "partitions": list(partitions)}


def _whose(consumers: Collection[str], subjects: Collection[UUID]) -> dict[str, Any]:
    return {"consumers": list(consumers), "subjects": list(subjects)}
