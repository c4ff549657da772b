"""Slices: for ever the same, and where Kafka's own partitioners would put the key."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from kafka.partitioner.default import DefaultPartitioner, murmur2

from epicrisis.event import SLICES
from epicrisis.slices import partition_of, slice_of


class Cluster:
    """As much of a cluster's metadata as a partitioner asks for."""

    def __init__(self, partitions: int) -> None:
        self.partitions = set(range(partitions))

    def topics(self) -> set[str]:
        return {"log"}

    def partitions_for_topic(self, _: str) -> set[int]:
        return self.partitions

    available_partitions_for_topic = partitions_for_topic


@pytest.mark.parametrize(
    ("key", "hashed"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_the_hash_is_that_of_the_java_client(key: bytes, hashed: int) -> None:
    """The vectors of Apache Kafka's own UtilsTest."""
    assert murmur2(key) & 0xFFFFFFFF == hashed & 0xFFFFFFFF


def test_the_slice_of_a_subject_never_changes() -> None:
    assert [slice_of(UUID(int=n)) for n in (0, 1, 2**64, 2**128 - 1)] == [648, 110, 703, 730]


@pytest.mark.parametrize("partitions", [1, 2, 16, 64, 1024])
def test_the_partition_is_the_one_that_kafkas_default_partitioner_takes(partitions: int) -> None:
    cluster = Cluster(partitions)
    for _ in range(200):
        subject = uuid4()
        expected = DefaultPartitioner().partition("log", None, subject.bytes, None, None, cluster)
        assert partition_of(slice_of(subject), partitions) == expected


def test_slices_are_all_in_use_and_fairly_filled() -> None:
    counts = [0] * SLICES
    for n in range(40_000):
        counts[slice_of(UUID(int=n * 7919 << 40))] += 1
    assert min(counts) > 10
    assert max(counts) < 90
