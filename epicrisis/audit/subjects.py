"""The map of a checkpoint: every subject with the count of its events and its last link, provable either way.

Its key is SHA-256 of the subject, its value SHA-256 of count and link, so a proof tells nothing about others. All
members (key and value, 64 bytes) lie sorted in 65,536 buckets by the first two bytes of the key; the buckets are the
entries of an RFC 6962 tree of that size. A whole bucket is the proof that a subject is there, or is not: it has one
place, and one root has one answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import NamedTuple
from uuid import UUID

from epicrisis.audit.tiles import WIDTH, Tree
from epicrisis.audit.verifier.history import BUCKETS, MEMBER, key_of, value_of
from epicrisis.audit.verifier.merkle import HASH, leaf_hash, root_of

TOP = WIDTH
"""The number of the shelf over all shelves."""


class Changed(NamedTuple):
    """Buckets and shelves as they are now, the map's root, and how many subjects it has gained."""

    buckets: dict[int, bytes]
    shelves: dict[int, bytes]
    root: bytes
    gained: int


Read = Callable[[Collection[int]], Mapping[int, bytes]]
"""What is kept of these buckets, or shelves (256 hashes of buckets each, or of all shelves); absent: as in the empty
map.
"""


@cache
def empty() -> tuple[bytes, bytes]:
    """A shelf of empty buckets, and the shelf over 256 such ones."""
    shelf = leaf_hash(b"") * WIDTH
    return shelf, _root(shelf) * WIDTH


def root_of_map(shelves: Read) -> bytes:
    """The map's root as it is kept."""
    return _root(_shelf(shelves, TOP))


def changed(buckets: Read, shelves: Read, heads: Mapping[UUID, tuple[int, bytes]]) -> Changed:
    """The map after these subjects' counts and links have become these."""
    by_bucket: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
    for subject, (n, link) in heads.items():
        key = key_of(subject)
        by_bucket[bucket_of(key)][key] = value_of(n, link)
    before, gained = buckets(list(by_bucket)), 0
    new_buckets: dict[int, bytes] = {}
    leaves: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    for number, some in by_bucket.items():
        old = before.get(number, b"")
        members = {old[at : at + HASH]: old[at + HASH : at + MEMBER] for at in range(0, len(old), MEMBER)}
        gained -= len(members)
        members.update(some)
        gained += len(members)
        new_buckets[number] = b"".join(key + members[key] for key in sorted(members))
        leaves[number // WIDTH][number % WIDTH] = leaf_hash(new_buckets[number])
    kept = shelves([*leaves, TOP])
    new_shelves = {shelf: _with(kept.get(shelf, empty()[0]), some) for shelf, some in leaves.items()}
    tops = {shelf: _root(hashes) for shelf, hashes in new_shelves.items()}
    top = _with(kept.get(TOP, empty()[1]), tops)
    return Changed(new_buckets, {**new_shelves, TOP: top}, _root(top), gained)


def proof(shelves: Read, subject: UUID) -> tuple[int, list[bytes]]:
    """The bucket where this subject is or would be, and the path from it to the map's root."""
    number = bucket_of(key_of(subject))
    kept = shelves([number // WIDTH, TOP])
    tiles = {(0, number // WIDTH): kept.get(number // WIDTH, empty()[0]), (1, 0): kept.get(TOP, empty()[1])}
    return number, Tree(lambda level, at: tiles[level, at]).inclusion(number, BUCKETS)


def bucket_of(key: bytes) -> int:
    """The first two bytes."""
    return int.from_bytes(key[:2], "big")


def _shelf(shelves: Read, number: int) -> bytes:
    return shelves([number]).get(number, empty()[number == TOP])


def _with(hashes: bytes, changes: Mapping[int, bytes]) -> bytes:
    new = bytearray(hashes)
    for at, one in changes.items():
        new[at * HASH : (at + 1) * HASH] = one
    return bytes(new)


def _root(hashes: bytes) -> bytes:
    return root_of([hashes[at : at + HASH] for at in range(0, len(hashes), HASH)])
