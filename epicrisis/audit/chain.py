"""The chain: each event's link covers its sealed bytes and every link before it, per subject.

``link(0) = SHA-256("epicrisis chain v1" ‖ subject)``, ``link(n) = SHA-256(link(n-1) ‖ SHA-256(value))``. It covers
ciphertext, so it still verifies when a key has been destroyed.
"""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

_LABEL = b"epicrisis chain v1"


def first_link(subject: UUID) -> bytes:
    """The link before a subject's first event: 32 bytes."""
    return sha256(_LABEL + subject.bytes).digest()


def next_link(link: bytes, value: bytes) -> bytes:
    """The link of the event whose record value this is: 32 bytes."""
    return sha256(link + sha256(value).digest()).digest()


ENTRY = 56
"""Bytes of an entry."""


def entry_of(subject: UUID, n: int, link: bytes) -> bytes:
    """What a log partition's Merkle tree has as the entry of an event: whose it is, which one, and its link.

    The link covers the sealed value and all before it; with the other two, whoever reads the entries of a tree knows
    where each chain stands, without a single event.
    """
    return subject.bytes + n.to_bytes(8, "big") + link
