"""Recount: everything that the newest head says, made anew from the ledger's entries alone, without tiles or map."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from uuid import UUID

from epicrisis.audit import subjects
from epicrisis.audit.chain import ENTRY, entries_in, heads_in
from epicrisis.audit.records import HEADS, Records
from epicrisis.audit.tiles import Tree
from epicrisis.audit.verifier.history import BUCKETS, Head
from epicrisis.audit.verifier.merkle import Wrong, leaf_hash, root_of


def recount(at: Records) -> Iterator[str]:
    """What differs, a line each; nothing where all is as it was signed."""
    newest = at.head()
    if newest is None:
        return
    try:
        head = Head.parse(newest.entry)
        if Tree(lambda level, n: at.tile(HEADS, level, n)).leaf(newest.number) != leaf_hash(newest.entry.encode()):
            yield f"head {newest.number} is not the one in the log of heads"
    except Wrong as problem:
        yield f"head {newest.number}: {problem}"
        return
    last: dict[bytes, bytes] = {}
    for partition, (size, root) in enumerate(head.trees):
        yield from _partition(at, partition, size, root, last)
    yield from _map(at, newest.number, head, heads_in(b"".join(last.values())))
    yield from _accesses(at, newest.number, head)


def _partition(at: Records, partition: int, size: int, root: bytes, last: dict[bytes, bytes]) -> Iterator[str]:
    """``last``: each subject's last entry so far."""
    leaves: list[bytes] = []
    while len(leaves) < size and (parts := at.entries(partition, len(leaves))):
        for first, raw in parts:
            if len(leaves) == size:  # archived since
                break
            if first != len(leaves) or not raw or len(raw) % ENTRY:
                yield f"partition {partition}: entry {len(leaves)} is missing"
                return
            for entry in entries_in(raw)[: size - len(leaves)]:
                subject = entry[:16]
                if _count(entry) != _count(last.get(subject, b"")) + 1:
                    who = UUID(bytes=subject)
                    yield f"partition {partition}: entry {len(leaves)} is not the next one of subject {who}"
                last[subject] = entry
                leaves.append(leaf_hash(entry))
    if len(leaves) < size:
        yield f"partition {partition}: {size} entries were signed, {len(leaves)} are there"
    elif root_of(leaves) != root:
        yield f"partition {partition}: its entries are not those that were signed"
    try:
        if Tree(lambda level, n: at.tile(partition, level, n)).root(size) != root:
            yield f"partition {partition}: its tiles are not those that were signed"
    except Wrong as problem:
        yield f"partition {partition}: {problem}"


def _count(entry: bytes) -> int:
    return int.from_bytes(entry[16:24], "big")


def _accesses(at: Records, number: int, head: Head) -> Iterator[str]:
    """The tree of accesses: of each head the accesses that came with it, partition by partition."""
    count = len(head.trees)
    left = [deque(at.accesses(p, count, 0, size)) for p, (size, _) in enumerate(head.trees)]
    trees = [Tree(lambda level, n, p=p: at.tile(p, level, n)) for p in range(count)]  # type: ignore[misc]
    leaves: list[bytes] = []
    for earlier in range(number + 1):
        stored = at.head(earlier)
        if stored is None:
            yield f"head {earlier} is gone"
            return
        for partition, (size, _) in enumerate(Head.parse(stored.entry).trees):
            while left[partition] and left[partition][0] < size:
                leaves.append(trees[partition].leaf(left[partition].popleft()))
    if (len(leaves), root_of(leaves)) != head.access:
        yield f"accesses: {head.access[0]} were signed, and they are not those {len(leaves)} that are there"


def _map(at: Records, number: int, head: Head, heads: Mapping[UUID, tuple[int, bytes]]) -> Iterator[str]:
    made = subjects.changed(lambda _: {}, lambda _: {}, heads)
    if (made.root, made.gained) != (head.map, head.subjects):
        yield "the map of all subjects is not what the entries say"
    for first in range(0, BUCKETS, 4096):
        kept = at.buckets(range(first, first + 4096), number)
        expected = {n: members for n, members in made.buckets.items() if first <= n < first + 4096}
        for bucket in sorted(n for n in {*kept, *expected} if kept.get(n, b"") != expected.get(n, b"")):
            yield f"the map's bucket {bucket} is not what the entries say"
    shelves = at.shelves(range(subjects.TOP + 1), number)
    if any(shelves.get(n, subjects.empty()[n == subjects.TOP]) != raw for n, raw in made.shelves.items()):
        yield "the map's hashes are not what the entries say"
