"""Slices and partitions: where a subject lives, for ever."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from kafka.partitioner.default import murmur2

from epicrisis.event import SLICES


@lru_cache(maxsize=65_536)
def slice_of(subject: UUID) -> int:
    """The slice of a subject, 0..1023: as Kafka's default partitioner would hash the key (the subject's 16 bytes)."""
    hashed: int = murmur2(subject.bytes)
    return (hashed & 0x7FFFFFFF) % SLICES


def partition_of(slice_: int, partitions: int) -> int:
    """The Kafka partition of a slice. ``partitions`` must divide 1,024."""
    return slice_ % partitions
