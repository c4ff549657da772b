"""A Merkle tree in memory."""

from __future__ import annotations

from collections.abc import Sequence

from epicrisis.audit.merkle import Node
from epicrisis.audit.verifier.merkle import root_of


def node_of(hashes: Sequence[bytes]) -> Node:
    """The full subtrees of a tree, by its leaf hashes."""

    def node(height: int, index: int) -> bytes:
        return root_of(hashes[index << height : (index + 1) << height])

    return node
