"""Sums: what is in two places is the same where a sum over it is the same, in whatever order it is read."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from struct import Struct

Sums = Counter[int]
"""A sum per slice, or per partition."""

number = Struct(">q").pack
"""Of a number 8 bytes."""


def mark(said: bytes) -> int:
    """What a thing with its place adds to a sum: the sum of such hashes is a hash of all of them (AdHash)."""
    return int.from_bytes(sha256(said).digest(), "big")


def differing(one: Sums, other: Sums) -> list[int]:
    """The slices, or partitions, whose sums differ."""
    return sorted(place for place in one.keys() | other.keys() if one[place] != other[place])
