"""What the producer writes is what the client's own would; an answer is an answer for every record of its batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from epicrisis.codec.writing import binary, long, text
from epicrisis.producing import Batch, Records

SIZE = 1024
ZSTD = 4

Headers = list[tuple[str, bytes]]
records = st.lists(
    st.tuples(
        st.integers(0, 2**44),
        st.binary(max_size=40),
        st.one_of(st.binary(max_size=400), st.integers(0, 3 * SIZE).map(bytes)),
        st.lists(st.tuples(st.text(max_size=12), st.binary(max_size=80)), max_size=8),
    ),
    max_size=12,
)


def written(headers: Headers) -> bytes:
    return long(len(headers)) + b"".join(text(name) + binary(value) for name, value in headers)


def batch() -> Batch:
    return Batch(TopicPartition("events", 3), Records(0, SIZE))


@given(records, st.sampled_from([0, ZSTD]))
def test_a_batch_is_byte_for_byte_the_clients_own(some: list[tuple[int, bytes, bytes, Headers]], codec: int) -> None:
    """And it is full when the client's own is."""
    ours, theirs = Records(codec, SIZE), MemoryRecordsBuilder(2, codec, SIZE)
    for timestamp, key, value, headers in some:
        fits = theirs.append(timestamp, key, value, headers) is not None
        assert bool(ours.append(timestamp, key, value, written(headers))) == fits
    for one in (ours, theirs):
        one.set_producer_state(7, 1, 40, False)
        one.close()
    assert ours.buffer() == theirs.buffer()
    assert ours.next_offset() == theirs.next_offset()


def test_a_batch_takes_what_is_larger_than_a_batch_alone() -> None:
    one = Records(0, SIZE)
    assert one.append(1, b"key", bytes(3 * SIZE), written([]))
    assert not one.append(1, b"key", b"", written([]))
    one.close()
    assert [record.value for record in MemoryRecords(one.buffer()).next_batch()] == [bytes(3 * SIZE)]


def test_a_batch_without_an_answer_is_not_acknowledged() -> None:
    assert not batch().is_done
    assert not batch().succeeded()


def test_a_batch_that_the_broker_has_is_acknowledged() -> None:
    one = batch()
    one.complete(17, -1)
    assert one.is_done
    assert one.succeeded()


@pytest.mark.parametrize("given_up", [True, False], ids=["given up", "refused"])
def test_a_batch_that_failed_says_why_and_stays_failed(given_up: bool) -> None:
    one, why = batch(), KafkaTimeoutError("no answer")
    if given_up:
        one.abort(why)
    else:
        one.complete_exceptionally(why, lambda _: why)
    one.complete(17, -1)  # an answer that came too late
    assert one.is_done
    assert not one.succeeded()
    assert one.exception is why
