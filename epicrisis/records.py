"""Records of the log as a worker reads them: key and value, without headers.

kafka-python reads a record field by field in Python, and CloudEvents' six headers are most of the fields: some 17 µs a
record, and 5 without them. Nothing that a worker does depends on a header. Batches, their checksums and their
decompression stay kafka-python's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record at its place in the log."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def without_headers(consumer: KafkaConsumer) -> KafkaConsumer:
    """The same consumer; what it polls are `Record`."""
    consumer._fetcher.PartitionRecords = _Fetched
    return consumer


class _Fetched(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python has no types
    """What was fetched of a partition; the base class is asked for it by `take`."""

    def _unpack_records(self, tp: Any, records: Any, *_: Any) -> Iterator[Record]:
        while (batch := records.next_batch()) is not None:
            if batch.magic != 2 or not batch.validate_crc():
                raise CorruptRecordError(f"{tp}: the batch at {batch.base_offset} is damaged, or older than Kafka 0.11")
            self.leader_epoch = batch.leader_epoch
            self.bytes_read += batch.size_in_bytes
            if not batch.is_control_batch:
                for record in records_in(tp.partition, batch):
                    self.records_read += 1
                    self.next_fetch_offset = record.offset + 1
                    yield record
            self.next_fetch_offset = batch.next_offset
        self.drain()


def records_in(partition: int, batch: Any) -> list[Record]:
    """The records of a batch (https://kafka.apache.org/documentation/#recordformat).

    Raises
    ------
    CorruptRecordError
        It is not as long as it says.
    """
    iter(batch)  # decompresses it
    data, at, first = bytes(batch._buffer), batch._pos, batch.base_offset
    found = []
    try:
        for _ in range(batch.records_count):
            length, at = _varint(data, at)
            end = at + length
            at += 1  # attributes
            while data[at] & 0x80:  # the timestamp
                at += 1
            delta, at = _varint(data, at + 1)
            size, at = _varint(data, at)
            key = data[at : at + size] if size >= 0 else None
            size, at = _varint(data, at + max(size, 0))
            value = data[at : at + size] if size >= 0 else None
            if not at + max(size, 0) < end <= len(data):
                raise IndexError
            found.append(Record(partition, first + delta, key, value))
            at = end
    except IndexError:
        at = -1
    if at != len(data):
        raise CorruptRecordError(f"partition {partition}: the batch at {first} is not as long as it says")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, zigzag and of variable length, and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
