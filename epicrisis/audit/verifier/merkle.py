"""RFC 6962 Merkle trees, the checking side: hashes, and what a proof leads to (RFC 9162, 2.1.3.2 and 2.1.4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH = 32
EMPTY = sha256(b"").digest()
"""The root of a tree without leaves."""


class Wrong(Exception):
    """Something does not hold. The message says what, and holds nothing of a patient."""


def leaf_hash(entry: bytes) -> bytes:
    """Of an entry: 32 bytes."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Of two subtrees: 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes: what a whole tree leads to."""
    row = list(hashes)
    if not row:
        return EMPTY
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        row = [node_hash(row[n], row[n + 1]) for n in range(0, len(row) - 1, 2)] + odd
    return row[0]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root of the tree of ``size`` leaves in which ``leaf`` (its hash) is at ``index``, if the proof is right.

    Raises
    ------
    Wrong
        The proof is too long or too short for this place.
    """
    if not 0 <= index < size:
        raise Wrong("a leaf is said to be beyond its tree")
    at, last, root = index, size - 1, leaf
    for other in proof:
        if last == 0:
            raise Wrong("an inclusion proof is too long")
        if at & 1 or at == last:
            root = node_hash(other, root)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            root = node_hash(root, other)
        at, last = at >> 1, last >> 1
    if last:
        raise Wrong("an inclusion proof is too short")
    return root


def check_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """That the tree of ``size`` leaves begins with that of ``old_size`` leaves.

    Raises
    ------
    Wrong
        It does not, or the proof does not show it.
    """
    if not 0 <= old_size <= size:
        raise Wrong("the tree has become smaller")
    if old_size in (0, size):
        expected = EMPTY if old_size == 0 else root
        if proof or old_root != expected:
            raise Wrong("the consistency proof does not show that nothing was changed")
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise Wrong("the consistency proof is too short")
    at, last = old_size - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = path[0]
    for other in path[1:]:
        if last == 0:
            raise Wrong("the consistency proof is too long")
        if at & 1 or at == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, other)
        at, last = at >> 1, last >> 1
    if last or before != old_root or after != root:
        raise Wrong("the consistency proof does not show that nothing was changed")
