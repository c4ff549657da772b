"""Merkle trees agree with pymerkle, an implementation that is not ours; no altered proof passes."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion

from epicrisis.audit.merkle import consistency, inclusion, root
from epicrisis.audit.verifier.merkle import (
    EMPTY,
    Wrong,
    check_consistency,
    leaf_hash,
    root_from_inclusion,
    root_of,
)
from tests.unit.audit.trees import node_of

SIZE = 70
ENTRIES = [b"entry %d" % n for n in range(SIZE)]
HASHES = [leaf_hash(entry) for entry in ENTRIES]
NODE = node_of(HASHES)
sizes = st.integers(1, SIZE)


@pytest.fixture(scope="module")
def theirs() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for entry in ENTRIES:
        tree.append_entry(entry)
    return tree


def test_the_empty_tree() -> None:
    assert root(NODE, 0) == root_of([]) == EMPTY == sha256().digest()


def test_roots_are_those_of_another_implementation(theirs: InmemoryTree) -> None:
    for size in range(1, SIZE + 1):
        assert root(NODE, size) == root_of(HASHES[:size]) == theirs.get_root(size)


def test_inclusion_proofs_are_right_and_theirs_are_accepted(theirs: InmemoryTree) -> None:
    for size in (1, 2, 3, 7, 8, 33, 64, SIZE):
        for index in range(size):
            proof = inclusion(NODE, index, size)
            assert root_from_inclusion(HASHES[index], index, size, proof) == root(NODE, size)
            their = theirs.prove_inclusion(index + 1, size)
            verify_inclusion(HASHES[index], theirs.get_root(size), their)
            assert their.path[1:] == proof


def test_consistency_proofs_are_right_and_as_theirs(theirs: InmemoryTree) -> None:
    for size in range(1, SIZE + 1):
        for old in range(size + 1):
            check_consistency(old, root(NODE, old), size, root(NODE, size), consistency(NODE, old, size))
    for old, size in [(1, 2), (3, 7), (6, 8), (8, 33), (63, SIZE)]:
        verify_consistency(root(NODE, old), root(NODE, size), theirs.prove_consistency(old, size))


@given(sizes, st.data())
def test_no_other_leaf_place_size_or_path_leads_to_the_root(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion(NODE, index, size)
    top = root(NODE, size)

    def leads(leaf: bytes, at: int, of: int, path: list[bytes]) -> bool:
        try:
            return root_from_inclusion(leaf, at, of, path) == top
        except Wrong:
            return False

    other = data.draw(st.integers(0, SIZE - 1).filter(lambda n: n != index))
    assert not leads(HASHES[other], index, size, proof)
    assert other >= size or not leads(HASHES[index], other, size, proof)
    assert not leads(HASHES[index], index, size, [*proof, HASHES[0]])
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not leads(HASHES[index], index, size, proof[:at] + proof[at + 1 :])
        assert not leads(HASHES[index], index, size, [*proof[:at], leaf_hash(b"changed"), *proof[at + 1 :]])


@given(sizes, sizes, st.data())
def test_a_changed_past_is_never_consistent(one: int, two: int, data: st.DataObject) -> None:
    old, size = min(one, two), max(one, two)
    changed = list(HASHES)
    at = data.draw(st.integers(0, old - 1))
    changed[at] = leaf_hash(b"changed")
    for proof in (consistency(NODE, old, size), consistency(node_of(changed), old, size)):
        with pytest.raises(Wrong):
            check_consistency(old, root(NODE, old), size, root(node_of(changed), size), proof)


def test_a_tree_does_not_shrink() -> None:
    with pytest.raises(Wrong, match="smaller"):
        check_consistency(5, root(NODE, 5), 4, root(NODE, 4), [])
    with pytest.raises(ValueError, match="larger"):
        consistency(NODE, 5, 4)
    with pytest.raises(Wrong):
        check_consistency(0, HASHES[0], 4, root(NODE, 4), [])
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion(NODE, 4, 4)
