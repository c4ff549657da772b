"""The worker: applies the log to read models.

A consumer group spreads the partitions; offsets and epochs are in PostgreSQL and move in the same transaction as the
rows. A batch is decoded once for all consumers of the worker (projections, the ledger), each with an offset of its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import psycopg
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from epicrisis import logging, metrics
from epicrisis.errors import EpicrisisError, Poison, Unreachable, Zombie
from epicrisis.inline import Inline
from epicrisis.projecting.batch import UNWRITABLE, Held, moved, run_batch
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Consumer, Delivered
from epicrisis.projecting.parking import Missing, retry_one, too_many, waiting_for_gaps
from epicrisis.projecting.store import Store
from epicrisis.records import without_headers
from epicrisis.settings import Settings
from epicrisis.stopping import Signal, back_off

BATCH = 4_000
POLL_MS = 200
HEAL_SECONDS = LOOK_SECONDS = 2.0
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.IdleInTransactionSessionTimeout)
"""The database is away, or has ended the transaction of a worker that was frozen in it."""

CONSUMER: dict[str, Any] = {
    "client_id": "epicrisis-worker",
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "allow_auto_create_topics": False,
    "reconnect_backoff_max_ms": 1_000,
    "max_poll_records": BATCH,
    "fetch_min_bytes": 64 * 1024,
    "fetch_max_wait_ms": 40,
    "fetch_max_bytes": 8 * 1024 * 1024,
    "max_partition_fetch_bytes": 2 * 1024 * 1024,
    "metadata_max_age_ms": 30_000,
    "session_timeout_ms": 15_000,
    "heartbeat_interval_ms": 3_000,
}
SHARE_OUT_SECONDS = 2 * CONSUMER["session_timeout_ms"] / 1000
"""A group that waits for a dead member shares out after one session. kafka-python 3.0.12 loses the answer to a join
that takes longer than a `poll`, where the reason to join was the metadata: it polls for ever, and gets nothing.
"""

log = logging.get(__name__)


class Batch(NamedTuple):
    """What was read at once: the events, what is no event with the reason, and where each partition goes on."""

    items: list[Delivered]
    aside: list[tuple[Any, str]]
    upto: dict[int, int]


class Worker:
    """One worker process: `run` until `stop`.

    ``connect`` makes its Kafka consumer, by default `kafka_consumer`. ``applier`` has one thread at most: there a batch
    is applied while the next one is read, so that neither processor nor database waits for the other.

    Where ``following`` is given, it says in a transaction of the store whom to follow the log for, instead of
    ``consumers``: generations come and go.
    """

    def __init__(
        self,
        settings: Settings,
        consumers: Sequence[Consumer],
        *,
        store: Store,
        decoder: Decoder,
        missing: Missing,
        group: str = "worker",
        on_batch: Callable[[int], None] | None = None,
        connect: Callable[[], Any] | None = None,
        stop: Signal | None = None,
        clock: Callable[[], float] = time.monotonic,
        following: Callable[[Any], Sequence[Consumer]] | None = None,
        applier: Executor | None = None,
    ) -> None:
        self._consumers = list(consumers)
        self._following = following
        self._store = store
        self._decoder = decoder
        self._missing = missing
        self._group = group
        self._on_batch = on_batch
        self._connect = connect or (lambda: kafka_consumer(settings, group))
        self._clock = clock
        self._applier = applier or Inline()
        self._applying: Future[None] | None = None
        self._topic = settings.topic()
        self._stop: Signal = stop or threading.Event()
        self._held = Held({})
        self._heal_at = self._look_at = 0.0
        self._given_by = math.inf
        self._failures = 0
        """In a row: how often it could not follow the log since it last did something."""

    @property
    def _names(self) -> list[str]:
        return [c.name for c in self._consumers]

    def stop(self) -> None:
        """Finish the batch, leave the group, return from `run`."""
        self._stop.set()

    def run(self) -> None:
        """Follow the log until stopped; what fails for a while is tried again with back-off.

        Raises
        ------
        EpicrisisError
            Something that waiting does not mend: too many parked subjects, or an offset that the log no longer has.
        """
        while not self._stop.is_set():
            try:
                self._follow()
            except OffsetOutOfRangeError:
                raise EpicrisisError(
                    f"{self._topic} no longer has the offset to read on from: rebuild the read models from the ledger"
                ) from None
            except (*PASSING, KafkaError, Unreachable, Zombie) as error:
                self._failures += 1
                log.warning("worker waits", error=type(error).__name__, attempt=self._failures)
                self._stop.wait(back_off(self._failures))

    def _follow(self) -> None:
        consumer = self._connect()
        try:
            self._given_by = math.inf
            consumer.subscribe([self._topic], listener=_Assignment(self, consumer))
            # Fetched now: a group that is joined without the topic's metadata shares out nothing, or shares out twice.
            if self._topic not in consumer.topics():
                raise Unreachable(f"{self._topic} cannot be read: is it there (`epicrisis provision`), and allowed?")
            while not self._stop.is_set():
                polled = consumer.poll(timeout_ms=POLL_MS, max_records=BATCH)
                if self._clock() > self._given_by:
                    raise Unreachable("the group took the partitions and shares out none: joined anew")
                held = self._held.partitions
                records = [r for place, some in polled.items() if place.partition in held for r in some]
                batch = self._read(records) if records else None
                self._settle()
                if not self._look(consumer) and (batch or self._clock() >= self._heal_at):
                    self._applying = self._applier.submit(self._turn, batch)
            self._settle()
        finally:
            self._finish()
            self._applying = None
            self._held = Held({})
            consumer.close(autocommit=False)

    def assigned(self, consumer: Any, partitions: Iterable[int]) -> None:
        """The group gave this worker partitions: take them over in the database, read on from there."""
        self._given_by = math.inf
        numbers = list(partitions)
        if not numbers:
            return
        self._finish()
        with self._store.transaction() as at:
            if self._following is not None:
                self._consumers = list(self._following(at))
            taken = Held.take(at, self._names, numbers)
        self._held.at.update(taken.at)
        for number in numbers:
            consumer.seek(TopicPartition(self._topic, number), taken.next_offset(number))
        log.info("partitions taken", topic=self._topic, count=len(numbers))

    def _look(self, consumer: Any) -> bool:
        """Now and then: where there are other generations to follow than before, take the partitions anew, for all.

        Then it returns True, and what was read before is read again.
        """
        if self._following is None or self._clock() < self._look_at:
            return False
        self._look_at = self._clock() + LOOK_SECONDS
        with self._store.transaction() as at:
            now = [c.name for c in self._following(at)]
        if now == self._names:
            return False
        partitions = sorted(self._held.partitions)
        self._held = Held({})
        self.assigned(consumer, partitions)
        return True

    def revoked(self, partitions: Iterable[int]) -> None:
        """The group took partitions away: the batch that is being applied is the last of them."""
        self._given_by = self._clock() + SHARE_OUT_SECONDS
        self._finish()
        self._held.drop(list(partitions))

    def _finish(self) -> None:
        """Wait for the batch that is being applied, however it ends: `_settle` says how."""
        if self._applying is not None:
            self._applying.exception()

    def _settle(self) -> None:
        """The same, and raise what it raised."""
        applying, self._applying = self._applying, None
        if applying is not None:
            applying.result()
            self._failures = 0

    def _read(self, records: Sequence[Any]) -> Batch:
        batch = Batch([], [], {})
        for record in records:
            batch.upto[record.partition] = record.offset + 1
            try:
                batch.items.append(
                    self._decoder.envelope(record.partition, record.offset, record.key or b"", record.value or b"")
                )
            except Poison as poison:
                batch.aside.append((record, poison.reason))
        self._decoder.bodies(batch.items)
        return batch

    def _turn(self, batch: Batch | None) -> None:
        """What is done while the next batch is read."""
        if batch:
            self._apply(batch)
        if self._clock() >= self._heal_at:
            self._heal()

    def _apply(self, batch: Batch) -> None:
        items, aside, upto = batch
        try:
            parked = self._commit(batch, careful=False)
        except UNWRITABLE:
            parked = self._commit(batch, careful=True)
        moved(self._held, upto)
        metrics.applied(self._group, len(items), parked, [reason for _, reason in aside])
        for record, reason in aside:
            log.error(
                "record set aside", topic=self._topic, partition=record.partition, offset=record.offset, reason=reason
            )
        if parked:
            self._heal_at = 0.0
            for name, count in parked.items():
                log.error("subjects parked", projection=name, count=count)
            with self._store.transaction() as at:
                too_many(at, list(parked))
        if self._on_batch:
            self._on_batch(len(items))

    def _commit(self, batch: Batch, *, careful: bool) -> Counter[str]:
        with self._store.transaction() as at:
            parked = run_batch(at, self._consumers, batch.items, self._held, batch.upto, careful=careful)
            for record, reason in batch.aside:
                at.set_aside(self._topic, record.partition, record.offset, reason, record.key, record.value)
        return parked

    def _heal(self) -> None:
        """Subjects that wait for a missing event: fetch it from the journal, apply the queue."""
        self._heal_at = self._clock() + HEAL_SECONDS
        partitions = sorted(self._held.partitions)
        with self._store.transaction() as at:
            waiting = waiting_for_gaps(at, self._names, partitions)
        for name, subject in waiting:
            consumer = next(c for c in self._consumers if c.name == name)
            retry_one(self._store, consumer, subject, self._decoder, self._missing)


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, worker: Worker, consumer: Any) -> None:
        self._worker, self._consumer = worker, consumer

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._worker.revoked(p.partition for p in revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._worker.assigned(self._consumer, [p.partition for p in assigned])


def kafka_consumer(settings: Settings, group: str) -> Any:
    """A consumer that decides itself where it reads, and skips nothing."""
    return without_headers(KafkaConsumer(**settings.kafka("worker"), group_id=settings.group(group), **CONSUMER))
