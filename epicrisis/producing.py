"""A producer for whoever sends thousands of records and then waits for all: batches are filled here, not in the client.

For each record kafka-python makes a future, takes locks and measures everything three times; that costs four times
what writing it does. Here a record is written straight into its partition's batch, which goes to the client when it is
full, or at `Producer.flush`. From there on all is the client's: idempotence, order, retries, acknowledgement.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, UnknownTopicOrPartitionError
from kafka.producer.producer_batch import FinalState, ProducerBatch
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecordsBuilder

from epicrisis.codec.writing import binary, long

_OVERHEAD = DefaultRecordBatchBuilder.header_size_in_bytes() + DefaultRecordBatchBuilder.MAX_RECORD_OVERHEAD


class Batch(ProducerBatch):  # type: ignore[misc]
    """Records of one partition, which the broker acknowledges together: the future of each of them."""

    def succeeded(self) -> bool:
        """Whether the broker has them all."""
        return self.final_state is FinalState.SUCCEEDED

    @property
    def exception(self) -> BaseException:
        """Why it has not, where it `is_done`."""
        _, _, exception_of = self.produce_future.value
        return exception_of(0)  # type: ignore[no-any-return]


class Records(MemoryRecordsBuilder):  # type: ignore[misc]
    """The client's, for keys, values and headers that are bytes: of the headers, all of them as Kafka writes them."""

    def __init__(self, compression: int, size: int) -> None:
        super().__init__(2, compression, size)
        self._builder = _Builder(2, compression, False, -1, -1, -1, size)


class _Builder(DefaultRecordBatchBuilder):  # type: ignore[misc]
    def append(self, offset: int, timestamp: int, key: bytes, value: bytes, headers: bytes) -> bool | None:
        """Write a record; None where the batch has no room for it."""
        if not self._num_records:
            self._first_timestamp = self._max_timestamp = timestamp
        since = timestamp - self._first_timestamp
        record = b"".join((b"\x00", long(since), long(offset), binary(key), long(len(value)), value, headers))
        length = long(len(record))
        if self._num_records and len(self._buffer) + len(length) + len(record) > self._batch_size:
            return None
        self._buffer += length
        self._buffer += record
        self._max_timestamp = max(self._max_timestamp, timestamp)
        self._last_offset = offset
        self._num_records += 1
        return True


class Producer(KafkaProducer):  # type: ignore[misc]
    """For one thread. What was sent goes out when its batch is full, and the rest at `flush`, never by itself."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._filling: dict[tuple[str, int], Batch] = {}

    def send(self, topic: str, *, key: bytes, value: bytes, headers: bytes, partition: int, timestamp_ms: int) -> Batch:
        """Write a record into its partition's batch, which is its future.

        Raises
        ------
        KafkaError
            The record is larger than a request may be, or there is no such topic or partition.
        """
        batch = self._filling.get((topic, partition))
        if batch is None or not batch.records.append(timestamp_ms, key, value, headers):
            if len(key) + len(value) + len(headers) + _OVERHEAD > self.config["max_request_size"]:
                raise MessageSizeTooLargeError
            batch = self._another(topic, partition)
            batch.records.append(timestamp_ms, key, value, headers)
        return batch

    def flush(self, timeout: float | None = None) -> None:
        """Send what was written, and wait until all of it is acknowledged, or has failed."""
        while self._filling:
            self._hand_over(self._filling.popitem()[1])
        super().flush(timeout)

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """Give up what is not acknowledged: whoever sent it sends it again."""
        if not getattr(self, "_closed", True):
            self._filling.clear()
            self._sender.force_close()
            self._sender.join(timeout)
        with suppress(KafkaTimeoutError):
            super().close(timeout, null_logger)

    def _another(self, topic: str, partition: int) -> Batch:
        """A new batch; the one before it, which is full, goes."""
        if full := self._filling.pop((topic, partition), None):
            self._hand_over(full)
        if partition not in self.partitions_for(topic):
            raise UnknownTopicOrPartitionError
        records = Records(self.config["compression_attrs"], self.config["batch_size"])
        batch = self._filling[topic, partition] = Batch(TopicPartition(topic, partition), records)
        return batch

    def _hand_over(self, batch: Batch) -> None:
        accumulator, at = self._accumulator, batch.topic_partition
        with accumulator._tp_lock(at):
            accumulator._batches[at].append(batch)
            accumulator._incomplete.add(batch)
        self._sender.wakeup()
