"""Records are read as kafka-python reads them, their headers left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.structs import TopicPartition

from epicrisis.records import Record, _Fetched, records_in

PLACE = TopicPartition("log", 3)
BYTES = st.none() | st.binary(max_size=300)
HEADERS = [("ce_type", b"chart.ResourceRecorded"), ("ce_id", None)]
ZSTD = 4


def batch_of(*records: tuple[bytes | None, bytes | None], first: int = 0, kind: int = ZSTD) -> bytes:
    builder = MemoryRecordsBuilder(2, kind, 1 << 20)
    for number, (key, value) in enumerate(records):
        builder.append(1_700_000_000_000 + 700 * number, key, value, HEADERS[: number % 3])
    builder.close()
    return first.to_bytes(8, "big") + bytes(builder.buffer())[8:]  # the broker says where a batch begins


def fetched(reader: Any, raw: bytes, begin: int = 0) -> Any:
    return reader(begin, PLACE, MemoryRecords(raw))


@given(st.lists(st.tuples(BYTES, BYTES), min_size=1, max_size=200), st.sampled_from([0, ZSTD]), st.integers(0, 2**40))
def test_records_are_those_that_kafka_python_reads(
    records: list[tuple[bytes | None, bytes | None]], kind: int, first: int
) -> None:
    raw = batch_of(*records, first=first, kind=kind) + batch_of(*records, first=first + len(records), kind=kind)
    begin = first + len(records) // 2
    ours, theirs = fetched(_Fetched, raw, begin), fetched(Fetcher.PartitionRecords, raw, begin)
    ours.record_iterator, theirs.record_iterator = list(ours.record_iterator), list(theirs.record_iterator)
    assert ours.record_iterator == [Record(r.partition, r.offset, r.key, r.value) for r in theirs.record_iterator]
    assert ours.next_fetch_offset == theirs.next_fetch_offset
    assert ours.records_read == theirs.records_read
    assert ours.leader_epoch == theirs.leader_epoch


def test_a_damaged_batch_is_no_records() -> None:
    raw = bytearray(batch_of((b"key", b"value")))
    raw[-1] ^= 1
    with pytest.raises(CorruptRecordError):
        fetched(_Fetched, bytes(raw)).take(1)


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, 65), slice(0, 61)])
def test_a_batch_that_is_not_as_long_as_it_says_is_no_records(cut: slice) -> None:
    """Its checksum would say so, too; this is what stands behind it."""
    whole = MemoryRecords(batch_of((b"key", b"value"), (b"key", b"other"), kind=0)).next_batch()
    assert len(records_in(3, whole)) == 2
    short = MemoryRecords(batch_of((b"key", b"value"), (b"key", b"other"), kind=0)).next_batch()
    short._buffer = short._buffer[cut]
    with pytest.raises(CorruptRecordError):
        records_in(3, short)
    long = MemoryRecords(batch_of((b"key", b"value"), kind=0)).next_batch()
    long._buffer += b"\x00"
    with pytest.raises(CorruptRecordError):
        records_in(3, long)
