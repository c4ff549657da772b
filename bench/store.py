"""The event store against `eventsourcing`, on the same PostgreSQL: append, one history, replay of everything.

Both start with event objects of the same content and end with the commit, or start with the database and end with
event objects; neither folds them. Ours: `PostgresJournal.append` and the ledger, with sealed bodies and with plain
Avro in their place. Theirs: `EventStore.put` and `get`, `select_notifications`, with PostgreSQL functions on (its
fastest way), with its JSON transcoder alone and with its compressor (zlib) and cipher (AES-GCM, one key for all).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count, product
from typing import Any
from uuid import UUID, uuid4

import psycopg
from eventsourcing.application import Application
from eventsourcing.cryptography import AESCipher
from eventsourcing.domain import DomainEvent, datetime_now_with_tzinfo
from psycopg.conninfo import conninfo_to_dict

from bench.events import Event, copy, first
from bench.plain import as_avro, fields, from_avro
from bench.row import Row, named, versus
from bench.stage import stage
from epicrisis.assembly import codec, key_store
from epicrisis.codec import KeyStore, Sealed
from epicrisis.database import Database
from epicrisis.event import replace
from epicrisis.journal import Append, NewEvent, PostgresJournal
from epicrisis.ledger import LedgerFollower, history
from epicrisis.projecting.delivery import Delivered
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.replay import facts
from epicrisis.settings import Settings

SERVICE = "chart"
COMMANDS = {1: 300, 10: 80, 100: 16}
"""Events per command, and how many commands a turn has."""
WRITERS = (1, 8)
"""Threads that append at the same time, each about subjects of its own; a service has as many as it has messages."""
SUBJECTS = 24
TURNS = 5
AT_MOST = 300
HISTORY, READS = 500, 10
PAGE = 2_000
_turns = count(1)
APPEND_GOAL, REPLAY_GOAL = 2.0, 2.0


class Store:
    """What is compared. Turns go round, so that what else the machine does hits all."""

    name: str

    def append(self, events: Sequence[Event]) -> None:
        """The next events of one subject, in one transaction."""
        raise NotImplementedError

    def history(self, subject: UUID) -> int:
        """Read and decode one subject's events; how many there were."""
        raise NotImplementedError

    def replay(self) -> int:
        """Read and decode everything; how many events there were."""
        raise NotImplementedError

    def settle(self) -> None:
        """Whatever comes between appending and reading, not measured."""

    def size(self) -> int:
        """Bytes of the events' table, indexes included."""
        raise NotImplementedError


class Ours(Store):
    """Journal and ledger."""

    def __init__(self, settings: Settings, keys: KeyStore) -> None:
        self.name = "sealed"
        self._keys = keys
        self._journal = PostgresJournal(SERVICE, Database(settings.dsn_for(SERVICE, SERVICE), size=1, name=SERVICE))
        self._worker = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
        self._admin = settings.admin_dsn(settings.database(SERVICE))
        self._subjects: list[UUID] = []

    def _encode(self, events: Sequence[Event]) -> list[bytes]:
        key = self._keys.for_subjects([events[0].meta.subject])[events[0].meta.subject]
        return [codec().encode(meta, body, key) for meta, body in events]

    def append(self, events: Sequence[Event]) -> None:
        meta = events[0].meta
        new = [
            NewEvent(m.id, m.seq, m.stream, m.type, m.recorded, value)
            for (m, _), value in zip(events, self._encode(events), strict=True)
        ]
        self._journal.append([Append(meta.subject, meta.seq - 1, new)])
        if meta.seq == 1:
            self._subjects.append(meta.subject)

    def settle(self) -> None:
        with PostgresStore(self._worker).transaction() as at:
            for subject in self._subjects:
                values = self._journal.after(subject, 1, 2**31)
                items = [Delivered(0, 0, sealed.meta, value, sealed.body) for sealed, value in _opened(values)]
                LedgerFollower().apply(at, items, 0)

    def history(self, subject: UUID) -> int:
        with self._worker.transaction() as cur:
            entries = history(cur, subject)
        return sum(fact.body is not None for fact in facts(entries, codec(), self._keys))

    def replay(self) -> int:
        return sum(self._decoded(page) for page in self._pages())

    def _pages(self) -> Iterator[list[bytes]]:
        with self._worker.transaction() as cur:
            cur.execute("DECLARE everything BINARY CURSOR FOR SELECT value FROM ledger.event")
            while page := cur.execute(f"FETCH {PAGE} FROM everything").fetchall():
                yield [value for (value,) in page]

    def _decoded(self, values: Sequence[bytes]) -> int:
        opened = [codec().open(value) for value in values]
        keys = self._keys.by_ids({sealed.meta.key for sealed in opened if sealed.meta.key})
        return sum(codec().unseal(s, keys[s.meta.key]) is not None for s in opened if s.meta.key)

    def size(self) -> int:
        return _size(self._admin, "journal")

    def close(self) -> None:
        self._journal._database.close()
        self._worker.close()


class Unsealed(Ours):
    """The same journal and ledger, with plain Avro for bodies."""

    def __init__(self, settings: Settings, keys: KeyStore) -> None:
        super().__init__(settings, keys)
        self.name = "plain Avro"

    def _encode(self, events: Sequence[Event]) -> list[bytes]:
        return [as_avro(event) for event in events]

    def history(self, subject: UUID) -> int:
        with self._worker.transaction() as cur:
            entries = history(cur, subject)
        return self._decoded([entry.value for entry in entries])

    def _decoded(self, values: Sequence[bytes]) -> int:
        return sum(from_avro(value).body is not None for value in values)


@dataclass(frozen=True)
class Recorded(DomainEvent):
    """One of our events as one of theirs: what the envelope says, the facts, the resource."""

    told: dict[str, Any]


class Theirs(Store):
    """`eventsourcing`."""

    def __init__(self, settings: Settings, schema: str, **more: str) -> None:
        self.name = "JSON, zlib, AES" if more else "JSON"
        admin = settings.admin_dsn(settings.database("cluster"))
        with psycopg.connect(admin) as connection:
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        parts = conninfo_to_dict(admin)
        self._admin, self._schema = admin, schema
        self._app: Application[UUID] = Application(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.postgres",
                "POSTGRES_DBNAME": str(parts["dbname"]),
                "POSTGRES_HOST": str(parts["host"]),
                "POSTGRES_PORT": str(parts["port"]),
                "POSTGRES_USER": str(parts["user"]),
                "POSTGRES_PASSWORD": str(parts["password"]),
                "POSTGRES_SCHEMA": schema,
                "POSTGRES_ENABLE_DB_FUNCTIONS": "yes",
                **more,
            }
        )

    def append(self, events: Sequence[Event]) -> None:
        now: datetime = datetime_now_with_tzinfo()
        self._app.events.put(
            [
                Recorded(
                    originator_id=event.meta.subject,
                    originator_version=event.meta.seq,
                    timestamp=now,
                    told=fields(event),
                )
                for event in events
            ]
        )

    def history(self, subject: UUID) -> int:
        return sum(1 for _ in self._app.events.get(subject))

    def replay(self) -> int:
        start, count, decoded = 1, 0, self._app.mapper.to_domain_event
        while page := self._app.recorder.select_notifications(start, PAGE):
            for notification in page:
                decoded(notification)
            start, count = page[-1].id + 1, count + len(page)
        return count

    def size(self) -> int:
        return _size(self._admin, self._schema)

    def close(self) -> None:
        self._app.close()


def _opened(values: Sequence[bytes]) -> list[tuple[Sealed, bytes]]:
    return [(codec().open(value), value) for value in values]


def _size(dsn: str, schema: str) -> int:
    query = (
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'"
    )
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query, (schema,)).fetchone()
    assert row is not None
    return int(row[0])


def run(short: bool = False) -> Iterator[Row]:
    """Rows: append per command size, one history, replay, bytes; ours and ours without seal against theirs twice."""
    with stores() as (sealed, unsealed, theirs, ciphered):
        everybody: list[Store] = [sealed, unsealed, theirs, ciphered]
        pairs = [(sealed, theirs), (sealed, ciphered), (unsealed, theirs)]
        peer = named("eventsourcing")
        turns = 1 if short else TURNS
        for writers, (per_command, commands) in product(WRITERS, COMMANDS.items()):
            commands = writers if short else commands * min(writers, 2)
            rates = _append_turns(everybody, per_command, commands, turns, writers)
            at_once = "" if writers == 1 else f" by {writers} writers at once"
            for ours, other in pairs:
                mine = rates[ours]
                yield versus(
                    f"append, {per_command} per command{at_once}, {ours.name}",
                    mine,
                    "events/s",
                    f"{peer}, {other.name}",
                    rates[other],
                    times_goal=APPEND_GOAL,
                    note=f"median of {turns} turns of {commands} commands; "
                    f"{1e3 * per_command / mine:.2f} against {1e3 * per_command / rates[other]:.2f} ms a command",
                )
        length = 20 if short else HISTORY
        subjects = {store: _one_history(store, length) for store in everybody}
        for store in everybody:
            store.settle()
        reads = 2 if short else READS
        took = {store: _median(lambda s=store: s.history(subjects[s]), reads) for store in everybody}  # type: ignore[misc]
        for ours, other in pairs:
            yield versus(
                f"one history of {length} events, {ours.name}",
                1e3 * took[ours],
                "ms",
                f"{peer}, {other.name}",
                1e3 * took[other],
                note=f"read and decoded, not folded; median of {reads}",
            )
        counts = {store: store.replay() for store in everybody}  # also warms the database's cache
        assert len(set(counts.values())) == 1, counts
        took = {store: _median(store.replay, 2 if short else 3) for store in everybody}
        for ours, other in pairs:
            yield versus(
                f"replay of everything, {ours.name}",
                counts[ours] / took[ours],
                "events/s",
                f"{peer}, {other.name}",
                counts[other] / took[other],
                times_goal=REPLAY_GOAL,
                note=f"{counts[ours]:,} events, pages of {PAGE:,}, one process; read and decoded, not folded",
            )


@contextmanager
def stores() -> Iterator[tuple[Store, Store, Store, Store]]:
    """Ours sealed and not, theirs plain and ciphered, each with tables of its own, on one server."""
    cipher = {
        "COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor",
        "CIPHER_TOPIC": "eventsourcing.cryptography:AESCipher",
        "CIPHER_KEY": AESCipher.create_key(32),
    }
    with stage(kafka=False) as settings, stage(kafka=False) as second:
        keys = key_store(settings, "intake")
        sealed, unsealed = Ours(settings, keys), Unsealed(second, keys)
        theirs, ciphered = Theirs(settings, "es_plain"), Theirs(settings, "es_cipher", **cipher)
        try:
            yield sealed, unsealed, theirs, ciphered
        finally:
            for one in (sealed, unsealed, theirs, ciphered):
                one.close()
            keys.close()


def _append_turns(
    everybody: Sequence[Store], per_command: int, commands: int, turns: int, writers: int
) -> dict[Store, float]:
    """Events per second of each: the median turn."""
    rates: dict[Store, list[float]] = {store: [] for store in everybody}
    subjects = {store: [uuid4() for _ in range(SUBJECTS)] for store in everybody}
    heads = dict.fromkeys((s for some in subjects.values() for s in some), 0)
    with ThreadPoolExecutor(writers) as threads:
        for _ in range(turns + 1):
            for store in everybody:
                todo: list[list[Sequence[Event]]] = [[] for _ in range(writers)]
                for number in range(commands):
                    subject = subjects[store][number % SUBJECTS]
                    todo[number % writers].append(_next_events(subject, heads[subject], per_command))
                    heads[subject] += per_command
                began = time.perf_counter()
                list(threads.map(partial(_append_each, store), todo))
                rates[store].append(commands * per_command / (time.perf_counter() - began))
    return {store: statistics.median(some[1:]) for store, some in rates.items()}  # the first turn warms


def _append_each(store: Store, commands: Sequence[Sequence[Event]]) -> None:
    for events in commands:
        store.append(events)


def _next_events(subject: UUID, head: int, number: int) -> list[Event]:
    """So many events of this subject, behind its first ``head``: the simulation's of the chart, about new resources."""
    bodies = [event for event in first() if event.meta.source == SERVICE]
    made = []
    for seq in range(head + 1, head + number + 1):
        meta, body = copy(bodies[(subject.int + seq) % len(bodies)], next(_turns))
        own = body.resource.replace(str(meta.subject).encode(), str(subject).encode())
        made.append(Event(replace(meta, id=uuid4(), subject=subject, seq=seq), replace(body, resource=own)))
    return made


def _one_history(store: Store, length: int) -> UUID:
    subject = uuid4()
    for head in range(0, length, 20):
        store.append(_next_events(subject, head, 20))
    return subject


def _median(work: Callable[[], Any], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)
