"""Record batches that cannot do harm. kafka-python unpacks a batch whole and without a cap, and a batch that it cannot
read is read again for ever. Here such a batch becomes one record that says why, and reading goes on behind it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import zstandard
from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

from epicrisis.codec import MAX_BATCH

CAP = 2 * MAX_BATCH
"""Bytes that a batch may unpack to."""
MAX_RECORDS, MAX_HEADERS = 100_000, 100
"""So many records in a batch, and headers of a record: the smallest take 7 and 2 bytes, and hundreds in memory."""


BROKEN = (CorruptRecordError, StopIteration, OSError, EOFError, zlib.error, zstandard.ZstdError, ValueError, IndexError)


class Unreadable(bytes):
    """The value of a record that stands for a whole batch, whose ``first`` to last offset it has."""

    why: str
    first: int


class _TooMuch(Exception):
    """It would take more memory than a batch may."""


class SafeBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A batch that is unpacked under a cap, and all of it before the first record is handed out."""

    _buffer: bytearray
    _pos: int
    _decompressed: bool

    def __iter__(self) -> Iterator[Any]:
        try:
            self._maybe_uncompress()
            self._look_ahead()
            records = []
            while self._next_record_index < self.records_count or self._pos != len(self._buffer):
                records.append(self.__next__())
            return iter(records)
        except _TooMuch:
            why = f"the batch holds more than {CAP:,} bytes, {MAX_RECORDS:,} records or {MAX_HEADERS} headers of one"
        except NotImplementedError:
            why = "the batch is compressed by a method that is not read here: take zstd, gzip or none"
        except BROKEN:
            why = "the batch cannot be unpacked"
        return iter([self._stand_in(why)])

    def _maybe_uncompress(self) -> None:
        if self._decompressed:
            return
        if self.compression_type != self.CODEC_NONE:
            packed = BytesIO(memoryview(self._buffer)[self._pos :])
            if self.compression_type == self.CODEC_ZSTD:
                with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as stream:
                    plain = _capped(stream)
            elif self.compression_type == self.CODEC_GZIP:
                with gzip.GzipFile(fileobj=packed) as unzipped:
                    plain = _capped(unzipped)
            else:
                raise NotImplementedError
            self._buffer, self._pos = bytearray(plain), 0
        self._decompressed = True

    def _look_ahead(self) -> None:
        """Count records and headers, before each of them becomes an object."""
        if self.records_count > MAX_RECORDS:
            raise _TooMuch
        buffer, at = self._buffer, self._pos
        for _ in range(self.records_count):
            length, start = decode_varint(buffer, at)
            at = start + length
            _, inside = decode_varint(buffer, start + 1)  # behind the attributes: timestamp, offset
            _, inside = decode_varint(buffer, inside)
            for _ in ("key", "value"):
                size, inside = decode_varint(buffer, inside)
                inside += max(size, 0)
            headers, _ = decode_varint(buffer, inside)
            if headers > MAX_HEADERS:
                raise _TooMuch

    def _stand_in(self, why: str) -> DefaultRecord:
        value = Unreadable()
        value.why, value.first = why, self.base_offset
        return DefaultRecord(0, self.last_offset, self.max_timestamp, self.timestamp_type, None, value, [])


def _capped(stream: Any) -> bytes:
    plain: bytes = stream.read(CAP + 1)
    if len(plain) > CAP:
        raise _TooMuch
    return plain


def capped(consumer: KafkaConsumer) -> KafkaConsumer:
    """The same consumer; it reads every batch so."""
    consumer._fetcher.PartitionRecords = _Fetched
    return consumer


class _Fetched(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What was fetched of a partition."""

    def _unpack_records(self, tp: Any, records: Any, *more: Any) -> Any:
        return super()._unpack_records(tp, _Batches(records), *more)


class _Batches:
    """The batches of a fetch, of today's format as `SafeBatch`."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        return SafeBatch(batch._buffer) if isinstance(batch, DefaultRecordBatch) else batch
