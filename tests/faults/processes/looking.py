"""Reads an installation from beside the faults: for the checks of `history`."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from kafka import KafkaConsumer, TopicPartition
from psycopg import sql

from epicrisis.assembly import codec, key_store
from epicrisis.codec import DataKey
from epicrisis.folding import fold
from epicrisis.found import projections, services
from epicrisis.projection import Projection
from epicrisis.settings import Settings
from tests.acceptance.support import UNSAID, inbox_counts, read_digests, rows
from tests.faults.processes.history import Acknowledged, Archived, Event, Look, Rest


class Watch:
    """Looks at a running installation, over connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: set[UUID] = set()

    def look(self, acknowledged: Sequence[Acknowledged], heads: Mapping[UUID, tuple[int, bytes]]) -> Look:
        """What is there now. ``acknowledged`` was read before; ``heads`` is what the last look has found."""
        settings = self._settings
        cursors: dict[tuple[str, int], int] = {}
        for name in services():
            with psycopg.connect(settings.admin_dsn(settings.database(name))) as connection:
                self._seen.update(id_ for (id_,) in connection.execute("SELECT id FROM journal.event"))
                cursors.update(
                    {(name, s): pos for s, pos in connection.execute("SELECT slice, pos FROM journal.relay")}
                )
        with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            offsets = {
                (consumer, partition): (next_offset, epoch)
                for consumer, partition, next_offset, epoch in connection.execute("SELECT * FROM projection.offset")
            }
            now = {s: (n, bytes(link)) for s, n, link in connection.execute("SELECT * FROM ledger.subject")}
            new = connection.execute(
                "SELECT e.subject, e.n, e.link, e.value FROM ledger.event AS e LEFT JOIN "
                "unnest(%s::uuid[], %s::bigint[]) AS known (subject, n) USING (subject) "
                "WHERE known.n IS NULL OR e.n > known.n ORDER BY e.subject, e.n",
                [list(heads), [n for n, _ in heads.values()]],
            )
            archived = [Archived(s, n, bytes(link), bytes(value)) for s, n, link, value in new]
        return Look(acknowledged, self._seen, offsets, cursors, now, archived)


class Reference:
    """What a run without faults has: the events of every message, and a digest per read model."""

    def __init__(self, settings: Settings) -> None:
        expected: defaultdict[UUID, list[Event]] = defaultdict(list)
        for event in journal(settings)[0]:
            assert event.message is not None
            expected[event.message].append(event)
        self.expected: Mapping[UUID, Sequence[Event]] = expected
        self.reads = read_digests(settings, UNSAID)


def rest(settings: Settings, acknowledged: Sequence[Acknowledged], reference: Reference) -> Rest:
    """Everything, once nothing moves any more."""
    events, values = journal(settings)
    archived = [
        Archived(subject, n, bytes(link), bytes(value))
        for subject, n, link, value in rows(
            settings, "cluster", "SELECT subject, n, link, value FROM ledger.event ORDER BY subject, n"
        )
    ]
    reads = read_digests(settings, UNSAID)
    inbox = inbox_counts(settings)
    counts = {name: rows(settings, database, f"SELECT count(*) FROM {name}")[0][0] for database, name in EMPTY}
    return Rest(
        acknowledged=acknowledged,
        expected=reference.expected,
        journal=events,
        values=values,
        log=log(settings),
        ledger=[opened(row.value) for row in archived],
        archived=archived,
        heads={s: (n, bytes(link)) for s, n, link in rows(settings, "cluster", "SELECT * FROM ledger.subject")},
        positions={
            (consumer, subject): seqs
            for consumer, subject, seqs in rows(
                settings, "cluster", "SELECT consumer, subject, seqs FROM projection.position"
            )
        },
        reads={name: (reads.get(name, ""), reference.reads.get(name, "")) for name in reads | reference.reads},
        folds=folds(settings, archived),
        left={"messages unfinished": inbox.total() - inbox["done"], **counts},
    )


EMPTY = (("intake", "inbox.busy"), ("cluster", "projection.parked"), ("cluster", "projection.poison"))


def opened(value: bytes) -> Event:
    """The event in a record value."""
    meta = codec().open(value).meta
    return Event(meta.source, meta.subject, meta.seq, meta.id, meta.message)


def journal(settings: Settings) -> tuple[list[Event], dict[tuple[str, UUID, int], bytes]]:
    """Every journalled event, and its record value."""
    events, values = [], {}
    for name in services():
        query = "SELECT subject, seq, id, value FROM journal.event ORDER BY subject, seq"
        for subject, seq, id_, value in rows(settings, name, query):
            event = opened(bytes(value))
            assert (event.subject, event.seq, event.id) == (subject, seq, id_), "the envelope is not its row"
            events.append(event)
            values[name, subject, seq] = bytes(value)
    return events, values


def log(settings: Settings) -> list[Event]:
    """Every record of the log, by partition and offset."""
    consumer = KafkaConsumer(**settings.kafka("worker"), group_id=None, enable_auto_commit=False)
    places = [TopicPartition(settings.topic(), p) for p in range(settings.partitions)]
    try:
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        consumer.seek_to_beginning()
        found: dict[int, list[Any]] = {place.partition: [] for place in places}
        while any(consumer.position(place) < end for place, end in ends.items()):
            for place, records in consumer.poll(timeout_ms=500).items():
                found[place.partition] += records
    finally:
        consumer.close(autocommit=False)
    return [opened(record.value) for partition in sorted(found) for record in found[partition]]


def folds(settings: Settings, archived: Iterable[Archived]) -> dict[str, tuple[str, str]]:
    """Per table a digest of its rows, and one of the same rows made from the ledger alone."""
    sealed = [codec().open(row.value) for row in archived]
    keys: Mapping[UUID, DataKey] = key_store(settings, "auditor").by_ids({s.meta.key for s in sealed if s.meta.key})
    facts = [(codec().unseal(s, keys[s.meta.key]), s.meta) for s in sealed if s.meta.key]
    found = {}
    for projection in projections().values():
        folded = fold(projection, facts)
        for table in projection.tables.values():
            anew = [tuple(getattr(row, column) for column in table.columns) for row in folded[table.name]]
            found[f"{projection.schema}.{table.name}"] = _digest(_live(settings, projection, table)), _digest(anew)
    return found


def _live(settings: Settings, projection: Projection, table: Any) -> list[tuple[Any, ...]]:
    columns = [
        sql.SQL("sum({0})::bigint").format(sql.Identifier(c)) if c in table.sums else sql.Identifier(c)
        for c in table.columns
    ]
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(columns), sql.Identifier(projection.schema, table.name)
    )
    if table.sums:
        query += sql.SQL(" GROUP BY {}").format(sql.SQL(", ").join(map(sql.Identifier, table.key)))
    return rows(settings, "cluster", query)


def _digest(some: Iterable[tuple[Any, ...]]) -> str:
    lines = sorted(repr(tuple(map(_plain, row))) for row in some)
    return f"{len(lines)} rows {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    """A value as it looks from either side."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, dict):  # jsonb has an order of its own
        return sorted((key, _plain(one)) for key, one in value.items())
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
