"""RFC 6962 Merkle trees, the building side: roots and proofs over whatever knows the hashes of full subtrees."""

from __future__ import annotations

from collections.abc import Callable

from epicrisis.audit.verifier.merkle import EMPTY, node_hash

Node = Callable[[int, int], bytes]
"""``(height, index) -> hash`` of the full subtree over leaves ``index << height`` up to the next one."""


def root(node: Node, size: int) -> bytes:
    """The root of the first ``size`` leaves."""
    return _subtree(node, 0, size) if size else EMPTY


def inclusion(node: Node, index: int, size: int) -> list[bytes]:
    """The proof that a leaf is at ``index`` in the tree of ``size`` leaves (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError("there is no such leaf")
    proof: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            proof.append(_subtree(node, middle, last))
            last = middle
        else:
            proof.append(_subtree(node, first, middle))
            first = middle
    return proof[::-1]


def consistency(node: Node, old: int, size: int) -> list[bytes]:
    """The proof that the tree of ``size`` leaves begins with that of ``old`` leaves (RFC 6962, 2.1.2)."""
    if not 0 <= old <= size:
        raise ValueError("a tree does not begin with a larger one")
    if old in (0, size):
        return []
    proof: list[bytes] = []
    first, last, whole = 0, size, True
    while last != old:
        middle = first + _split(last - first)
        if old <= middle:
            proof.append(_subtree(node, middle, last))
            last = middle
        else:
            proof.append(_subtree(node, first, middle))
            first, whole = middle, False
    if not whole:
        proof.append(_subtree(node, first, last))
    return proof[::-1]


def _subtree(node: Node, first: int, last: int) -> bytes:
    """The root over leaves ``first`` to ``last`` (exclusive), where ``first`` is a multiple of the size's split."""
    parts: list[bytes] = []
    while first < last:
        height = (last - first).bit_length() - 1
        parts.append(node(height, first >> height))
        first += 1 << height
    found = parts.pop()
    while parts:
        found = node_hash(parts.pop(), found)
    return found


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
