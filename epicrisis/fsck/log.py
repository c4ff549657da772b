"""The log beside the ledger: a sum over each slice, read in processes of its own; details only where sums differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition

from epicrisis.assembly import codec
from epicrisis.codec.envelope import Place
from epicrisis.errors import Poison, Unreachable
from epicrisis.fsck.finding import Finding
from epicrisis.fsck.sums import Sums, mark, number
from epicrisis.records import Record, without_headers
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of

SILENCE_MS = 20_000
"""So long a broker may take to hand over records that it has."""

Garbage = tuple[int, int, str]
"""Partition and offset of a record that is no event, and the reason."""


class Read(NamedTuple):
    """What a part of the log says: a sum per slice, and how many events, repeats left out of both."""

    sums: Sums
    events: int
    garbage: list[Garbage]
    missing: list[int]
    """Partitions that end before the ledger has stopped reading."""


class Details(NamedTuple):
    """Every event of some slices: more than one digest where it was sent again with another value."""

    events: dict[Place, set[bytes]]
    garbage: list[Garbage]


def read(settings: Settings, until: Mapping[int, int], since: datetime | None) -> Read:
    """These partitions up to these offsets. Without ``since``, an event's first record is not read further than to its
    place: one that is damaged behind it makes the sums differ.
    """
    sums, events, garbage, short = Sums(), 0, list[Garbage](), list[int]()
    last: dict[tuple[bytes, str], int] = {}
    slices: dict[bytes, int] = {}
    for record in _records(settings, until, since, short):
        try:
            event = _event(record, since, wholly=since is not None)
            if event is None:
                continue
            (subject, source, seq), digest = event
            if seq <= last.get((subject, source), 0):  # a relay may send again, in order, what it has sent
                _event(record, since, wholly=True)
                continue
        except Poison as problem:
            garbage.append((record.partition, record.offset, problem.reason))
            continue
        last[subject, source] = seq
        slice_ = slices.get(subject)
        if slice_ is None:
            slice_ = slices[subject] = slice_of(UUID(bytes=subject))
        sums[slice_] += mark(subject + number(seq) + source.encode() + digest)
        events += 1
    return Read(sums, events, garbage, short)


def events_of(settings: Settings, slices: Collection[int], until: Mapping[int, int], since: datetime | None) -> Details:
    """The events of these slices, every record read wholly."""
    found = Details({}, [])
    partitions = {partition_of(s, settings.partitions) for s in slices}
    some = {p: offset for p, offset in until.items() if p in partitions}
    for record in _records(settings, some, since, []):
        try:
            event = _event(record, since, wholly=True)
        except Poison as problem:
            found.garbage.append((record.partition, record.offset, problem.reason))
            continue
        if event is not None and slice_of(UUID(bytes=event[0][0])) in slices:
            found.events.setdefault(event[0], set()).add(event[1])
    return found


def _event(record: Record, since: datetime | None, *, wholly: bool) -> tuple[Place, bytes] | None:
    """Its place, and SHA-256 of the value; None where it is too old."""
    value, old = record.value or b"", False
    if wholly:
        meta = codec().open(value).meta
        place: Place = meta.subject.bytes, meta.source, meta.seq
        old = since is not None and meta.recorded < since
    else:
        place = codec().place(value)
    if record.key != place[0]:
        raise Poison("the record's key is not its subject", reason="wrong_key")
    return None if old else (place, sha256(value).digest())


def _records(
    settings: Settings, until: Mapping[int, int], since: datetime | None, short: list[int]
) -> Iterator[Record]:
    """Every record of these partitions up to these offsets. ``short``: partitions that end too early."""
    topic = settings.topic()
    consumer = without_headers(
        KafkaConsumer(
            **settings.kafka("auditor"),
            client_id="epicrisis-fsck",
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            fetch_max_bytes=8 * 1024 * 1024,
            max_partition_fetch_bytes=2 * 1024 * 1024,
        )
    )
    try:
        places = {TopicPartition(topic, p): end for p, end in until.items() if end}
        if not places:
            return
        consumer.assign(list(places))
        starts = _starts(consumer, list(places), since)
        ends = consumer.end_offsets(list(places))
        for place, end in places.items():
            if ends[place] < end:
                short.append(place.partition)
                places[place] = ends[place]
            consumer.seek(place, starts[place])
        left = {place for place, end in places.items() if starts[place] < end}
        consumer.pause(*[place for place in places if place not in left])
        while left:
            polled = consumer.poll(timeout_ms=SILENCE_MS, max_records=10_000)
            if not polled:
                raise Unreachable("the log cannot be read: see `epicrisis doctor`")
            for place, records in polled.items():
                for record in records:
                    if record.offset < places[place]:
                        yield record
                if consumer.position(place) >= places[place]:
                    left.discard(place)
                    consumer.pause(place)
    finally:
        consumer.close(autocommit=False)


def _starts(consumer: Any, places: list[Any], since: datetime | None) -> dict[Any, int]:
    starts: dict[Any, int] = consumer.beginning_offsets(places)
    if since is None:
        return starts
    found = consumer.offsets_for_times(dict.fromkeys(places, int(since.timestamp() * 1000)))
    ends = consumer.end_offsets(places)
    return {place: ends[place] if at is None else at.offset for place, at in found.items()}


def details(ledger: Mapping[Place, bytes], log: Mapping[Place, set[bytes]]) -> Iterator[Finding]:
    """What differs between the ledger's and the log's events of some slices."""
    for place in sorted(ledger.keys() | log.keys()):
        subject, source, seq = place
        if place not in log:
            problem = "the log does not have it"
        elif place not in ledger:
            problem = "the ledger does not have it"
        elif log[place] == {ledger[place]}:
            continue
        else:
            problem = "log and ledger have other values"
        yield Finding(check="log", problem=problem, subject=UUID(bytes=subject), source=source, seq=seq)
