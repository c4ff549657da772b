"""The log beside the ledger: a sum over each slice, read in processes of its own; details only where sums differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition

from epicrisis.assembly import codec
from epicrisis.errors import Poison, Unreachable
from epicrisis.fsck.finding import BEGINNING, Finding
from epicrisis.fsck.ledger import Sums
from epicrisis.records import without_headers
from epicrisis.settings import Settings
from epicrisis.slices import slice_of

SILENCE_MS = 20_000
"""So long a broker may take to hand over records that it has."""

Place = tuple[bytes, str, int]
"""Subject, service and seq."""


class Read(NamedTuple):
    """What a part of the log says: sums and counts per slice, repeats left out, and records that are no events."""

    sums: dict[int, int]
    counts: dict[int, int]
    garbage: list[tuple[int, int, str]]
    missing: list[int]
    """Partitions that end before the ledger has stopped reading."""


def read(settings: Settings, until: Mapping[int, int], since: datetime | None) -> Read:
    """These partitions up to these offsets."""
    sums, garbage, last = Sums(), list[tuple[int, int, str]](), dict[tuple[bytes, str], int]()
    short: list[int] = []
    for partition, offset, problem, event in _events(settings, until, since, short):
        if problem:
            garbage.append((partition, offset, problem))
        if event is None:
            continue
        subject, source, seq, digest, slice_ = event
        if seq > last.get((subject, source), 0):  # a relay may send again, in order, what it has sent
            last[subject, source] = seq
            sums.add(slice_, subject, source, seq, digest)
    return Read(dict(sums.sums), dict(sums.counts), garbage, short)


def events_of(settings: Settings, slices: Collection[int], until: Mapping[int, int], since: datetime | None) -> Any:
    """The events of these slices: ``{place: digests}``, more than one where it was sent again with another value."""
    found: dict[Place, set[bytes]] = {}
    partitions = {s % settings.partitions for s in slices}
    some = {p: offset for p, offset in until.items() if p in partitions}
    for _, _, _, event in _events(settings, some, since, []):
        if event is not None and event[4] in slices:
            found.setdefault(event[:3], set()).add(event[3])
    return found


_Event = tuple[bytes, str, int, bytes, int]
"""Subject, service, seq, SHA-256 of the value, slice."""


def _events(
    settings: Settings, until: Mapping[int, int], since: datetime | None, short: list[int]
) -> Iterator[tuple[int, int, str, _Event | None]]:
    """Of every record partition, offset, what is wrong, and the event (none where it is too old). ``short``: partitions
    that end too early.
    """
    topic, open_ = settings.topic(), codec().open
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
                        yield _event(record, open_, since)
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


def _event(record: Any, open_: Any, since: datetime | None) -> tuple[int, int, str, _Event | None]:
    try:
        meta = open_(record.value or b"").meta
        if record.key != meta.subject.bytes:
            raise Poison("the record's key is not its subject", reason="wrong_key")
    except Poison as problem:
        return record.partition, record.offset, problem.reason, None
    if meta.recorded < (since or BEGINNING):
        return record.partition, record.offset, "", None
    digest = sha256(record.value).digest()
    event = record.key, meta.source, meta.seq, digest, slice_of(meta.subject)
    return record.partition, record.offset, "", event


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
