"""Tiles: the layout of C2SP, any growth gives the same tiles, and old sizes stay provable."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicrisis.audit import published, subjects
from epicrisis.audit.merkle import consistency, inclusion, root
from epicrisis.audit.tiles import Tree, grown, path
from epicrisis.audit.verifier.history import BUCKETS, key_of, value_in, value_of
from epicrisis.audit.verifier.merkle import Wrong, leaf_hash, root_of
from epicrisis.audit.verifier.note import Note
from epicrisis.errors import Refused
from tests.unit.audit.ledger import ORIGIN, Ledger
from tests.unit.audit.trees import node_of

LEAVES = [leaf_hash(b"%d" % n) for n in range(70_000)]
Tiles = dict[tuple[int, int], bytes]


def filled(*sizes: int) -> Tiles:
    tiles: Tiles = {}
    at = 0
    for size in sizes:
        for place, more in grown(lambda level, n: tiles.get((level, n), b""), at, LEAVES[at:size]).items():
            tiles[place] = tiles.get(place, b"") + more
        at = size
    return tiles


def tree(tiles: Tiles) -> Tree:
    return Tree(lambda level, n: tiles.get((level, n), b""))


def test_paths_are_those_of_the_specification() -> None:
    assert path(0, 1234067) == "tile/0/x001/x234/067"
    assert path(1, 0, 17) == "tile/1/000.p/17"
    assert path(63, 999) == "tile/63/999"
    assert path(0, 1000) == "tile/0/x001/000"


def test_a_tree_of_70000_has_the_tiles_that_the_specification_names() -> None:
    tiles = filled(70_000)
    widths = defaultdict(list)
    for (level, _), hashes in sorted(tiles.items()):
        widths[level].append(len(hashes) // 32)
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}
    assert tree(tiles).root(70_000) == root_of(LEAVES)
    assert {place: len(t) // 32 for place, t in filled(256).items()} == {(0, 0): 256, (1, 0): 1}


@given(st.lists(st.integers(0, 1_200), min_size=1, max_size=4).map(sorted))
@settings(max_examples=25, deadline=None)
def test_any_growth_gives_the_same_tiles(sizes: list[int]) -> None:
    assert filled(*sizes) == filled(sizes[-1])


def test_proofs_from_tiles_are_those_of_the_tree_itself() -> None:
    whole, node = tree(filled(1_100)), node_of(LEAVES[:1_100])
    for size in (1, 2, 255, 256, 257, 511, 513, 1_000, 1_100):
        assert whole.root(size) == root(node, size)
        for index in {0, size // 2, size - 1, min(size - 1, 256)}:
            assert whole.inclusion(index, size) == inclusion(node, index, size)
        assert whole.consistency(size, 1_100) == consistency(node, size, 1_100)


def test_tiles_that_lack_something_are_noticed() -> None:
    tiles = filled(600)
    tiles[0, 2] = tiles[0, 2][:-32]
    with pytest.raises(Wrong, match="shorter"):
        tree(tiles).root(600)
    with pytest.raises(Wrong, match="not as long"):
        grown(lambda level, n: tiles.get((level, n), b""), 600, LEAVES[600:800])


# As static files


def test_whoever_has_the_files_of_a_log_can_make_every_proof_of_it(tmp_path: Path) -> None:
    ledger = Ledger(partitions=1)
    ledger.add(UUID(int=1), *(b"%d" % n for n in range(300)))
    ledger.publish()
    assert published.write(ledger.records, tmp_path) == 2 + 3 + 1 + 1
    ledger.publish()
    assert published.write(ledger.records, tmp_path) == 2 + 1 + 1, "the checkpoints again, and what is wider now"
    for name, size in (("log", 2), ("log/0", 300)):
        folder = tmp_path / name
        note = Note.parse((folder / "checkpoint").read_text(encoding="utf-8"))
        ledger.checkpoints.policy.check(note, ORIGIN)
        assert note.checkpoint.size == size

        def served(level: int, number: int, folder: Path = folder, size: int = size) -> bytes:
            width = min(256, (size >> 8 * level) - number * 256)
            return (folder / path(level, number, width)).read_bytes()

        assert Tree(served).root(size) == note.checkpoint.root
    bundle = (tmp_path / "log" / "tile/entries/000.p/2").read_bytes()
    first = int.from_bytes(bundle[:2], "big")
    assert bundle[2 : 2 + first].decode() == ledger.records.heads[0]
    assert bundle[2 + first + 2 :].decode() == ledger.records.heads[1]
    assert all(UUID(int=1).bytes not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_without_a_checkpoint_there_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no checkpoint yet"):
        published.write(Ledger().records, tmp_path)


# The map


class Kept:
    """A map in memory."""

    def __init__(self) -> None:
        self.buckets: dict[int, bytes] = {}
        self.shelves: dict[int, bytes] = {}

    def change(self, heads: dict[UUID, tuple[int, bytes]]) -> subjects.Changed:
        made = subjects.changed(
            lambda some: {n: self.buckets[n] for n in some if n in self.buckets},
            lambda some: {n: self.shelves[n] for n in some if n in self.shelves},
            heads,
        )
        self.buckets |= made.buckets
        self.shelves |= made.shelves
        return made

    def prove(self, subject: UUID) -> tuple[bytes, list[bytes]]:
        number, way = subjects.proof(lambda some: {n: self.shelves[n] for n in some if n in self.shelves}, subject)
        return self.buckets.get(number, b""), way

    @property
    def root(self) -> bytes:
        return subjects.root_of_map(lambda some: {n: self.shelves[n] for n in some if n in self.shelves})


def head(n: int) -> tuple[int, bytes]:
    return n, leaf_hash(b"link %d" % n)


WHO = [UUID(int=n * 7919) for n in range(1, 400)]


def test_the_map_does_not_depend_on_the_way_there() -> None:
    once, bit = Kept(), Kept()
    made = once.change({who: head(n) for n, who in enumerate(WHO)})
    gained = sum(bit.change({who: head(99), WHO[0]: head(1)}).gained for who in reversed(WHO))
    assert (made.gained, gained) == (len(WHO), len(WHO))
    bit.change({who: head(n) for n, who in enumerate(WHO)})
    assert once.root == bit.root == made.root
    leaves = [leaf_hash(once.buckets.get(n, b"")) for n in range(BUCKETS)]
    assert once.root == root_of(leaves)
    assert Kept().root == root_of([leaf_hash(b"")] * BUCKETS)


def test_the_map_proves_who_is_in_it_and_who_is_not() -> None:
    kept = Kept()
    assert value_in(kept.root, WHO[0], *kept.prove(WHO[0])) is None
    kept.change({who: head(n) for n, who in enumerate(WHO[:-1])})
    for n, who in enumerate(WHO[:-1]):
        assert value_in(kept.root, who, *kept.prove(who)) == value_of(*head(n))
    assert value_in(kept.root, WHO[-1], *kept.prove(WHO[-1])) is None


def test_no_other_part_of_the_map_is_accepted() -> None:
    kept = Kept()
    kept.change({who: head(n) for n, who in enumerate(WHO)})
    bucket, way = kept.prove(WHO[0])
    other_bucket, other_way = kept.prove(WHO[1])
    stranger = bytearray(bucket)
    stranger[33] ^= 1
    twice = bucket + bucket
    two = key_of(WHO[0])[:2] + bytes(62)
    for some, path_ in [
        (b"", way), (other_bucket, other_way), (bucket, other_way), (bytes(stranger), way), (twice, way),
        (bucket[:-1], way), (bucket + two, way), (two + bucket, way), (bucket, way[:-1]), (bucket, [*way, way[0]]),
    ]:  # fmt: skip
        with pytest.raises(Wrong):
            value_in(kept.root, WHO[0], some, path_)
