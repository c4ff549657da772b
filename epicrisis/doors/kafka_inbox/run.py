"""The role `inbox`: reads every operator's inbox, judges message by message, answers each.

One thread reads, several judge. A partition is judged in order, one message at a time; its offset moves once the reply
was acknowledged. Killed anywhere, the message is judged again by the same name: intake gives the first answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from epicrisis import logging, metrics
from epicrisis.codec import MAX_RECORD
from epicrisis.doors.kafka_inbox import batches
from epicrisis.doors.kafka_inbox.judge import LATER, Judge, Place, Reply, reply
from epicrisis.doors.kafka_inbox.places import Leases, Places
from epicrisis.doors.kafka_inbox.queues import Queues
from epicrisis.errors import SettingsError, Unreachable
from epicrisis.operators import Operator
from epicrisis.settings import Settings
from epicrisis.stopping import Signal, back_off

POLL_MS, BATCH = 100, 100
LOOK_SECONDS = 30.0

CONSUMER: dict[str, Any] = {
    "client_id": "epicrisis-inbox",
    "group_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "allow_auto_create_topics": False,
    "isolation_level": "read_committed",
    "reconnect_backoff_max_ms": 1_000,
    "max_poll_records": BATCH,
    "fetch_max_wait_ms": 100,
    "fetch_max_bytes": 8 * 1024 * 1024,
    "max_partition_fetch_bytes": 1024 * 1024,
    "metadata_max_age_ms": 30_000,
}
PRODUCER: dict[str, Any] = {
    "client_id": "epicrisis-inbox",
    "acks": "all",
    "enable_idempotence": True,
    "allow_auto_create_topics": False,
    "reconnect_backoff_max_ms": 1_000,
    "compression_type": "zstd",
    "max_request_size": MAX_RECORD,
    "max_block_ms": 5_000,
    "delivery_timeout_ms": 30_000,
    "request_timeout_ms": 20_000,
}

log = logging.get(__name__)


class Broker(NamedTuple):
    """How to reach Kafka: to read, to send, and to ask which topics there are."""

    consumer: Callable[[], Any]
    producer: Callable[[], Any]
    admin: Callable[[], Any]

    @classmethod
    def of(cls, settings: Settings) -> Broker:
        """The one in the settings, as the user `inbox`."""
        user = settings.kafka("inbox")
        return cls(
            lambda: batches.capped(KafkaConsumer(**user, **CONSUMER)),
            lambda: KafkaProducer(**user, **PRODUCER),
            lambda: KafkaAdminClient(**user, client_id="epicrisis-inbox"),
        )


class Inboxes:
    """One process of the role: `run` until `stop`. Processes share the partitions by `Leases`.

    ``operators`` reads the manifests: an operator that joins is served without a restart.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        broker: Broker,
        operators: Callable[[], Mapping[str, Operator]],
        judge: Callable[[], Judge],
        places: Places,
        leases: Leases,
        threads: int = 4,
        stop: Signal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._read_operators = operators
        self._operators = operators()
        self._make_judge = judge
        self._places = places
        self._leases = leases
        self._queues = Queues(threads)
        self._stop: Signal = stop or threading.Event()
        self._clock = clock
        self._all: list[Place] = []
        self._mine: dict[TopicPartition, Place] = {}
        self._look_at = 0.0
        self._refusals: dict[Place, bytes] = {}
        self._replies: dict[Place, tuple[int, Reply, bool]] = {}
        self._failures: dict[Place, int] = {}
        self._lost = 0
        """How often Kafka or PostgreSQL did not answer, since they did."""
        self._producer: Any = None
        self._sending = threading.Lock()
        self._threads = [threading.Thread(target=self._answer_all, name=f"inbox {n}") for n in range(threads)]
        self._errors: list[BaseException] = []

    def stop(self) -> None:
        """Answer what is at hand, give the partitions back, return from `run`."""
        self._stop.set()

    def run(self) -> None:
        """Take and answer messages until stopped; what fails for a while is tried again with back-off."""
        for thread in self._threads:
            thread.start()
        try:
            while not self._stop.is_set():
                try:
                    self._follow()
                except (KafkaError, psycopg.Error, Unreachable, OSError) as error:
                    self._lost += 1
                    log.warning("inbox waits", error=type(error).__name__, attempt=self._lost)
                    self._stop.wait(back_off(self._lost))
        finally:
            self._stop.set()
            self._queues.close()
            for thread in self._threads:
                thread.join()
            self._drop_producer()
        if self._errors:
            raise self._errors[0]

    # The thread that reads

    def _follow(self) -> None:
        consumer, admin = self._broker.consumer(), None
        self._mine, self._look_at = {}, 0.0
        try:
            admin = self._broker.admin()
            while not self._stop.is_set():
                self._look(admin)
                self._assign(consumer, self._leases.keep(self._all))
                self._pause(consumer)
                if not self._mine:
                    self._stop.wait(POLL_MS / 1000)
                    continue
                try:
                    polled = consumer.poll(timeout_ms=POLL_MS, max_records=BATCH)
                except OffsetOutOfRangeError as error:
                    self._to_the_beginning(consumer, list(error.args[0]))
                    continue
                self._lost = 0
                for partition, records in polled.items():
                    if partition in self._mine:
                        self._queues.put(self._mine[partition], records)
        finally:
            self._queues.hold(())
            self._mine = {}
            self._leases.close()
            consumer.close(autocommit=False)
            if admin is not None:
                admin.close()

    def _look(self, admin: Any) -> None:
        """Now and then: which operators have an inbox, and which partitions it has."""
        if self._clock() < self._look_at:
            return
        try:
            self._operators = self._read_operators()
        except SettingsError as error:
            log.error("manifests not read again", error=error)
        names = {self._settings.inbox(name): name for name in self._operators}
        wanted = [*names, *map(self._settings.replies, self._operators)]
        found = {t["name"]: t for t in (admin.describe_topics(wanted) if wanted else ()) if not t.get("error_code")}
        for missing in sorted(set(wanted) - set(found)):
            log.warning("topic is not there: run `epicrisis provision`", topic=missing)
        self._all = [
            Place(name, topic, found[topic]["topic_id"], partition["partition_index"])
            for topic, name in sorted(names.items())
            if topic in found and self._settings.replies(name) in found
            for partition in sorted(found[topic]["partitions"], key=lambda p: p["partition_index"])
        ]
        self._look_at = self._clock() + LOOK_SECONDS

    def _assign(self, consumer: Any, places: Sequence[Place]) -> None:
        """Read these partitions, each from where it was read before."""
        if set(places) == set(self._mine.values()):
            return
        known = set(self._mine.values())
        mine = {TopicPartition(place.topic, place.partition): place for place in places}
        self._queues.hold(places)
        consumer.assign(list(mine))
        new = [partition for partition, place in mine.items() if place not in known]
        begins = consumer.beginning_offsets(new) if new else {}
        for partition in new:
            place = mine[partition]
            offset, refusal = self._places.start(place, begins[partition])
            self._replies.pop(place, None)
            self._refusals.pop(place, None)
            if refusal is not None:
                self._refusals[place] = refusal
            consumer.seek(partition, offset)
        self._mine = mine
        log.info("partitions taken", count=len(mine))

    def _pause(self, consumer: Any) -> None:
        """Read no further where enough waits."""
        paused = consumer.paused()
        for partition, place in self._mine.items():
            full = self._queues.full(place, partition in paused)
            if full and partition not in paused:
                consumer.pause(partition)
            elif not full and partition in paused:
                consumer.resume(partition)

    def _to_the_beginning(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        """What was to be read next is no longer there: nobody read it in time."""
        for partition, begin in consumer.beginning_offsets(partitions).items():
            log.error(
                "messages are gone unread", topic=partition.topic, partition=partition.partition, next_offset=begin
            )
            self._refusals.pop(self._mine[partition], None)
            consumer.seek(partition, begin)

    # The threads that judge

    def _answer_all(self) -> None:
        try:
            judge = self._judge()
            while judge is not None and (taken := self._queues.take()) is not None:
                place, record = taken
                answered, rest = False, 0.0
                try:
                    answered, rest = self._answer(judge, place, record)
                finally:
                    self._queues.give(place, record, answered, rest)
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _judge(self) -> Judge | None:
        """This thread's own, made once the database answers; None where the process is stopped before."""
        failures = 0
        while not self._stop.is_set():
            try:
                return self._make_judge()
            except LATER as error:
                failures += 1
                log.warning("inbox waits", error=type(error).__name__, attempt=failures)
                self._stop.wait(back_off(failures))
        return None

    def _answer(self, judge: Judge, place: Place, record: Any) -> tuple[bool, float]:
        """Whether a record was answered; if not, after how many seconds to try again."""
        operator = self._operators.get(place.operator)
        if operator is None:  # its manifest has just gone
            return False, LOOK_SECONDS
        try:
            answer, taken_in = self._judged(judge, place, record, operator)
            self._send(place, answer)
            self._places.done(place, record.offset + 1)
        except (*LATER, KafkaError) as error:
            failures = self._failures[place] = self._failures.get(place, 0) + 1
            log.warning(
                "message waits",
                operator=place.operator,
                partition=place.partition,
                offset=record.offset,
                error=type(error).__name__,
                attempt=failures,
            )
            return False, back_off(failures)
        self._replies.pop(place, None)
        self._failures.pop(place, None)
        metrics.answered(place.operator, taken_in)
        return True, 0.0

    def _judged(self, judge: Judge, place: Place, record: Any, operator: Operator) -> tuple[Reply, bool]:
        """The reply to a record: made once, however often it has to be sent."""
        kept = self._replies.get(place)
        if kept is not None and kept[0] == record.offset:
            return kept[1], kept[2]
        refusal = self._refusals.get(place)
        if refusal is not None:
            value, taken_in = refusal, False
        else:
            value, taken_in = judge.judge(record, place, operator)
            if not taken_in:
                value = self._places.refuse(place, record.offset, value)
        made = reply(record, place, value, taken_in)
        self._replies[place] = record.offset, made, taken_in
        self._refusals.pop(place, None)
        return made, taken_in

    def _send(self, place: Place, answer: Reply) -> None:
        topic = self._settings.replies(place.operator)
        with self._sending:
            if self._producer is None:
                self._producer = self._broker.producer()
            producer = self._producer
        try:
            future = producer.send(
                topic, key=answer.key, value=answer.value, headers=answer.headers, partition=place.partition
            )
            future.get(30)
        except KafkaError:
            with self._sending:
                if self._producer is producer:
                    self._drop_producer()
            raise

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=0)
