"""Slices and partitions: where a subject lives, for ever."""

from __future__ import annotations

import struct
from functools import lru_cache
from uuid import UUID

from epicrisis.event import SLICES

_WORDS = struct.Struct("<4I").unpack
_SEED, _MIX, _32_BITS = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


@lru_cache(maxsize=65_536)
def slice_of(subject: UUID) -> int:
    """The slice of a subject, 0..1023: as Kafka's default partitioner would hash the key (the subject's 16 bytes).

    That is murmur2, written here for 16 bytes: kafka-python's needs its whole client, which most commands do not.
    """
    hashed = _SEED ^ 16
    for word in _WORDS(subject.bytes):
        word = word * _MIX & _32_BITS
        hashed = hashed * _MIX & _32_BITS ^ (word ^ word >> 24) * _MIX & _32_BITS
    hashed = (hashed ^ hashed >> 13) * _MIX & _32_BITS
    return ((hashed ^ hashed >> 15) & 0x7FFFFFFF) % SLICES


def partition_of(slice_: int, partitions: int) -> int:
    """The Kafka partition of a slice. ``partitions`` must divide 1,024."""
    return slice_ % partitions
