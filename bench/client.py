"""The Kafka client: kafka-python as relay and worker use it, against confluent-kafka with the same settings.

Out: idempotent, acks=all, zstd, explicit partitions, key and headers, every acknowledgement looked at. In: every record
of all partitions with key, value and headers, in batches as large as the worker's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import confluent_kafka
from kafka import TopicPartition

from bench.contenders import librdkafka
from bench.events import events, keys_for, row_of, value_of
from bench.row import Row, named, versus
from bench.stage import stage
from epicrisis.codec import MAX_RECORD, MemoryKeyStore, headers
from epicrisis.journal import outgoing
from epicrisis.relay import producer, send
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from epicrisis.worker import BATCH, kafka_consumer

EVENTS, ROUNDS, TURNS = 20_000, 4, 2
"""Each event is sent several times, so that connecting is a small part."""


class Record(NamedTuple):
    """An event as a relay reads it, and what else the other client is given."""

    row: outgoing.Row
    source: str
    partition: int
    headers: list[tuple[str, bytes]]


class Took(NamedTuple):
    """Wall and processor seconds, the broker's own not included."""

    wall: float
    processor: float


def run(short: bool = False) -> Iterator[Row]:
    """Rows: produce and consume, by wall time; processor time in the note."""
    some = list(events(200 if short else EVENTS))
    keys = keys_for(some, MemoryKeyStore())
    with stage(own=False) as settings:
        records = [
            Record(
                row_of(event.meta, value_of(event, keys)),
                event.meta.source,
                partition_of(slice_of(event.meta.subject), settings.partitions),
                headers(event.meta),
            )
            for _ in range(1 if short else ROUNDS)
            for event in some
        ]
        work: dict[str, Callable[[], int]] = {
            "produce": lambda: produce(settings, records),
            "produce, theirs": lambda: produce_theirs(settings, records),
            "consume": lambda: consume(settings, len(records)),
            "consume, theirs": lambda: consume_theirs(settings, len(records)),
        }
        best = {name: Took(float("inf"), 0.0) for name in work}
        for _ in range(1 if short else TURNS):
            for name, step in work.items():
                began, busy = time.perf_counter(), time.process_time()
                assert step() >= len(records), name
                took = Took(time.perf_counter() - began, time.process_time() - busy)
                best[name] = min(best[name], took)
    number, size = len(records), sum(len(r.row.value) for r in records) / len(records)
    for name in ("produce", "consume"):
        ours, theirs = best[name], best[f"{name}, theirs"]
        each = f"{1e6 * ours.processor / number:.0f} against {1e6 * theirs.processor / number:.0f} µs of processor"
        yield versus(
            name,
            number / ours.wall,
            "records/s",
            named("confluent-kafka"),
            number / theirs.wall,
            note=f"{named('kafka-python')}; {number:,} records of {size:.0f} bytes, connecting included, best of "
            f"turns; {each} a record",
        )


def produce(settings: Settings, records: Sequence[Record]) -> int:
    """As the relay does."""
    made, topic = producer(settings), settings.topic()
    futures = [send(made, topic, settings.partitions, r.source, r.row) for r in records]
    made.flush(timeout=60)
    made.close()
    return sum(future.succeeded() for future in futures)


def produce_theirs(settings: Settings, records: Sequence[Record]) -> int:
    """The same with librdkafka."""
    acknowledged = 0

    def seen(error: Any, _: Any) -> None:
        nonlocal acknowledged
        acknowledged += error is None

    made = confluent_kafka.Producer(
        {
            **librdkafka(settings.kafka("relay")),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "batch.size": 512 * 1024,
            "linger.ms": 1,
            "message.max.bytes": MAX_RECORD,
        }
    )
    topic = settings.topic()
    for r in records:
        while True:
            try:
                made.produce(topic, r.row.value, r.row.subject.bytes, r.partition, headers=r.headers, on_delivery=seen)
                break
            except BufferError:
                made.poll(0.01)
        made.poll(0)
    made.flush(60)
    return acknowledged


def consume(settings: Settings, number: int) -> int:
    """As the worker does: the first so many records of the topic."""
    consumer = kafka_consumer(settings, "bench")
    places = [TopicPartition(settings.topic(), p) for p in range(settings.partitions)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    count = 0
    while count < number:
        for some in consumer.poll(timeout_ms=500, max_records=BATCH).values():
            count += sum(1 for r in some if r.value and r.key)
    consumer.close(autocommit=False)
    return count


def consume_theirs(settings: Settings, number: int) -> int:
    """The same with librdkafka."""
    consumer = confluent_kafka.Consumer(
        {
            **librdkafka(settings.kafka("worker")),
            "group.id": settings.group("bench"),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    places = range(settings.partitions)
    consumer.assign(
        [confluent_kafka.TopicPartition(settings.topic(), p, confluent_kafka.OFFSET_BEGINNING) for p in places]
    )
    count = 0
    while count < number:
        for message in consumer.consume(BATCH, 0.5):
            count += bool(message.value() and message.key())
    consumer.close()
    return count
