"""Filling: a part of the ledger folded in memory, subject by subject, and copied straight into new tables.

The events of a part are read once for all generations that lack it. The rows, the positions and the word that the part
is done are committed together: whoever is killed has done nothing, and somebody else does it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from epicrisis.codec import Codec, KeyStore
from epicrisis.database import Database
from epicrisis.folding import Count, Rows
from epicrisis.projecting.batch import UNWRITABLE
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import QUEUED, Delivered, Failure
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.parking import too_many
from epicrisis.projecting.positions import positions_of
from epicrisis.projecting.postgres import PostgresTransaction
from epicrisis.projecting.store import Parked
from epicrisis.projecting.tables import Extended, TableStore
from epicrisis.projection import Place, Projection
from epicrisis.slices import partition_of, slice_of
from epicrisis.sql import queries

_SQL = queries("epicrisis.rebuild")
CHUNK = 4_000
"""So many events, rounded up to whole subjects, are folded at a time."""
FLUSH = 20_000
"""So many rows are kept before they are written."""
PATIENT = "SET LOCAL idle_in_transaction_session_timeout = 0"
"""Nobody waits for what a filler holds: it may be slow, or stopped for a while."""
FROM_THE_LEDGER = -1
"""Stands for the offset of an event that did not come off the log."""

Cursor = psycopg.Cursor[Any]
Waiting = list[tuple[UUID, Parked]]


class Part(NamedTuple):
    """A range of slices, both ends included, and the generations that lack it."""

    first: int
    last: int
    schemas: tuple[str, ...]


class Target:
    """A generation that is being filled: what was folded and not written yet."""

    def __init__(self, projection: Projection) -> None:
        self.follower = ProjectionFollower(projection)
        self.schema = projection.schema
        self._stores = {table.name: TableStore(projection, table) for table in projection.tables.values()}
        self.clear()

    def clear(self) -> None:
        """Forget what was not written."""
        self._rows: defaultdict[str, list[Extended]] = defaultdict(list)
        self._counts: dict[Place, Count] = {}
        self._positions: list[tuple[UUID, dict[str, int]]] = []
        self._failures: list[Failure] = []
        self.size = 0

    def fold(self, items: Sequence[Delivered], positions: list[tuple[UUID, dict[str, int]]]) -> None:
        """Fold the whole histories of some subjects. ``positions``: theirs, if nothing fails."""
        rows: Rows = {}
        failures = self.follower.fold(items, rows, self._counts)
        for place, cell in rows.items():
            if cell.row is not None:
                self._rows[place[0]].append((cell.row, cell.n))
        if failures:
            failed = {id(failure.delivered) for failure in failures}
            positions = positions_of([item for item in items if id(item) not in failed])
            self._failures += failures
        self._positions += positions
        self.size += len(rows) + len(positions)

    def fail(self, items: Sequence[Delivered], reason: str) -> None:
        """These events' rows cannot be written: all of them wait, the first with the reason."""
        self._failures += [Failure(item, QUEUED if n else reason) for n, item in enumerate(items)]

    def write(self, cur: Cursor, shard: int, *, counts: bool) -> None:
        """Write what was folded; the counters only once, at the end of a part."""
        for name, rows in self._rows.items():
            self._stores[name].fill(cur, rows)
        if counts:
            sums: defaultdict[str, list[Extended]] = defaultdict(list)
            for (name, _), count in self._counts.items():
                sums[name].append((count.row(), shard))
            for name, rows in sums.items():
                self._stores[name].fill(cur, rows)
        with cur.copy(_SQL["copy_positions"]) as copy:
            copy.set_types(["text", "uuid", "jsonb"])
            for subject, seqs in self._positions:
                copy.write_row((self.schema, subject, Jsonb(seqs)))
        at = PostgresTransaction(cur)
        for failure in self._failures:
            at.park(self.schema, failure.delivered.meta.subject, _parked(failure))
        if self._failures:
            too_many(at, [self.schema])
        kept = {} if counts else self._counts
        self.clear()
        self._counts = kept


class Filler:
    """Fills one part after the other, in one process."""

    def __init__(
        self, dsn: str, projections: Sequence[Projection], *, codec: Codec, keys: KeyStore, partitions: int
    ) -> None:
        self._targets = {projection.schema: Target(projection) for projection in projections}
        self._decoder = Decoder(codec, keys, [target.follower for target in self._targets.values()])
        self._partitions = partitions
        self._reader, self._writer = (Database(dsn, size=1, name="cluster") for _ in range(2))

    def step(self) -> int | None:
        """Fill one part that nobody is filling; how many events it had. None: there is none (left)."""
        with self._writer.transaction() as cur:
            cur.execute(PATIENT)
            part = self._claim(cur)
            if part is None:
                return None
            targets = [self._targets[schema] for schema in part.schemas]
            try:
                with cur.connection.transaction():
                    events = self._fill(cur, part, targets)
            except UNWRITABLE:
                for target in targets:
                    target.clear()
                events = self._fill_carefully(cur, part, targets)
            cur.execute(_SQL["part_done"], {"schemas": list(part.schemas), "first": part.first, "events": events})
        return events

    def _claim(self, cur: Cursor) -> Part | None:
        wanted = {"schemas": list(self._targets)}
        row = cur.execute(_SQL["claim"], wanted).fetchone()
        if row is None:
            return None
        cur.execute(_SQL["claim_for"], {**wanted, "first": row[0], "last": row[1]})
        return Part(row[0], row[1], tuple(schema for (schema,) in cur))

    def _fill(self, cur: Cursor, part: Part, targets: Sequence[Target]) -> int:
        events = 0
        with self._reading(part, CHUNK) as (waiting, histories):
            for items in histories:
                events += len(items)
                positions = positions_of(items)
                for target in targets:
                    target.fold(items, positions)
                if sum(target.size for target in targets) > FLUSH:
                    for target in targets:
                        target.write(cur, part.first, counts=False)
        for target in targets:
            target.write(cur, part.first, counts=True)
            _queue(cur, target.schema, waiting)
        return events

    def _fill_carefully(self, cur: Cursor, part: Part, targets: Sequence[Target]) -> int:
        """The same, a subject at a time: one whose rows cannot be written is parked, as a worker would."""
        events = 0
        with self._reading(part, 1) as (waiting, histories):
            for items in histories:
                events += len(items)
                positions = positions_of(items)
                for target in targets:
                    try:
                        with cur.connection.transaction():
                            target.fold(items, positions)
                            target.write(cur, part.first, counts=True)
                    except UNWRITABLE as error:
                        target.clear()
                        target.fail(items, f"write: {type(error).__name__}")
                        target.write(cur, part.first, counts=True)
        for target in targets:
            _queue(cur, target.schema, waiting)
        return events

    @contextmanager
    def _reading(self, part: Part, chunk: int) -> Iterator[tuple[Waiting, Iterable[list[Delivered]]]]:
        """What waits for the ledger itself in these slices, and whole histories, ``chunk`` events or more at a time.

        All in one snapshot: a gap that the ledger fills meanwhile is either among the events or among what waits.
        """
        with self._reader.transaction() as cur:
            cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cur.execute(PATIENT)
            cur.execute("SET LOCAL work_mem = '64MB'")
            waiting: Waiting = [
                (subject, Parked(0, *rest))
                for subject, *rest in cur.execute(_SQL["ledger_queue"])
                if part.first <= slice_of(subject) <= part.last
            ]
            with closing(self._histories(cur, part, chunk)) as histories:
                yield waiting, histories

    def _histories(self, cur: Cursor, part: Part, chunk: int) -> Generator[list[Delivered], None, None]:
        query = sql.SQL(
            "COPY (SELECT slice, array_agg(value ORDER BY n) FROM ledger.event WHERE slice BETWEEN {} AND {} "
            "GROUP BY slice, subject ORDER BY subject) TO STDOUT (FORMAT BINARY)"
        ).format(sql.Literal(part.first), sql.Literal(part.last))
        envelope, items = self._decoder.envelope, list[Delivered]()
        with cur.copy(query) as copy:
            copy.set_types(["int2", "bytea[]"])
            for slice_, values in copy.rows():
                partition = partition_of(slice_, self._partitions)
                for n, value in enumerate(values, 1):
                    item = envelope(partition, FROM_THE_LEDGER, None, value)
                    item.n = n
                    items.append(item)
                if len(items) >= chunk:
                    self._decoder.bodies(items)
                    yield items
                    items = []
        if items:
            self._decoder.bodies(items)
            yield items

    def close(self) -> None:
        """Give the connections back."""
        self._reader.close()
        self._writer.close()


def _parked(failure: Failure) -> Parked:
    item = failure.delivered
    return Parked(0, item.partition, item.offset, item.meta.source, item.meta.seq, failure.reason, item.value)


def _queue(cur: Cursor, schema: str, waiting: Waiting) -> None:
    """What the ledger waits for, this generation waits for too, and fetches by itself."""
    at = PostgresTransaction(cur)
    for subject, event in waiting:
        at.park(schema, subject, event)
