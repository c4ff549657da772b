"""The chain: each event's link covers its sealed bytes and every link before it, per subject.

``link(0) = SHA-256("epicrisis chain v1" ‖ subject)``, ``link(n) = SHA-256(link(n-1) ‖ SHA-256(value))``. It covers
ciphertext, so it still verifies when a key has been destroyed.

The entry of an event, in its log partition's Merkle tree, is its subject, its number and its link: the link covers the
sealed value and all before it, and whoever reads the entries of a tree knows where each chain stands, without a single
event.
"""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from epicrisis.audit.verifier.history import entry_of, first_link

ENTRY = 56
"""Bytes of an entry."""


def next_link(link: bytes, value: bytes) -> bytes:
    """The link of the event whose record value this is: 32 bytes."""
    return sha256(link + sha256(value).digest()).digest()


def entries_in(raw: bytes) -> list[bytes]:
    """Each of them."""
    return [raw[at : at + ENTRY] for at in range(0, len(raw), ENTRY)]


def heads_in(raw: bytes) -> dict[UUID, tuple[int, bytes]]:
    """The last number and link of each subject in these entries."""
    last = {raw[at : at + 16]: at for at in range(0, len(raw), ENTRY)}
    return {
        UUID(bytes=subject): (int.from_bytes(raw[at + 16 : at + 24], "big"), raw[at + 24 : at + ENTRY])
        for subject, at in last.items()
    }


__all__ = ["ENTRY", "entries_in", "entry_of", "first_link", "heads_in", "next_link"]
