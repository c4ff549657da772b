"""What checkpoints are made of, in memory: the same contract, for tests and attacks."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from epicrisis.audit.chain import ENTRY
from epicrisis.audit.records import Stored


class MemoryRecords:
    """See `Records` and `RecordStore`; ``ledger`` holds the entries of each partition."""

    def __init__(self) -> None:
        self.ledger: dict[int, bytes] = {}
        self.accessed: dict[int, list[int]] = {}
        self.tiles: dict[tuple[int, int, int], bytes] = {}
        self.heads: list[str] = []
        self.trusted_heads: set[int] = set()
        self.maps: dict[int, tuple[dict[int, bytes], dict[int, bytes]]] = {}
        self.notes: dict[tuple[int, int], str] = {}
        self.files: dict[str, str] = {}
        self.signed_by: dict[str, tuple[datetime, datetime | None]] = {}
        self.known: dict[str, dict[int, int]] = {}

    @contextmanager
    def transaction(self) -> Iterator[MemoryRecords]:
        before = copy.copy(self.__dict__)
        for name, kept in before.items():
            setattr(self, name, copy.deepcopy(kept) if name == "known" else copy.copy(kept))
        try:
            yield self
        except BaseException:
            self.__dict__.update(before)
            raise

    def close(self) -> None:
        pass

    def lock(self) -> None:
        pass

    def head(self, number: int | None = None, *, trusted: bool = False) -> Stored | None:
        some = self.trusted_heads if trusted else range(len(self.heads))
        numbers = sorted(n for n in some if number in (None, n))
        return Stored(numbers[-1], self.heads[numbers[-1]]) if numbers else None

    def add_head(self, number: int, entry: str) -> None:
        assert number == len(self.heads)
        self.heads.append(entry)

    def trust(self, number: int, sizes: Mapping[int, int]) -> None:
        self.trusted_heads.add(number)
        self.maps = {head: kept for head, kept in self.maps.items() if head >= number}
        self.notes = {place: note for place, note in self.notes.items() if place[1] >= sizes.get(place[0], 0)}

    def entries(self, partition: int, first: int) -> list[tuple[int, bytes]]:
        raw = self.ledger.get(partition, b"")
        return [(at // ENTRY, raw[at : at + ENTRY]) for at in range(first * ENTRY, len(raw), ENTRY)]

    def accesses(self, partition: int, partitions: int, first: int, last: int) -> list[int]:
        return [n for n in self.accessed.get(partition, []) if first <= n < last]

    def tile(self, tree: int, level: int, number: int) -> bytes:
        return self.tiles.get((tree, level, number), b"")

    def add_tiles(self, tree: int, added: Mapping[tuple[int, int], bytes]) -> None:
        for (level, number), hashes in added.items():
            self.tiles[tree, level, number] = self.tile(tree, level, number) + hashes

    def buckets(self, numbers: Collection[int], head: int) -> Mapping[int, bytes]:
        return self._map(0, numbers, head)

    def shelves(self, numbers: Collection[int], head: int) -> Mapping[int, bytes]:
        return self._map(1, numbers, head)

    def _map(self, part: int, numbers: Collection[int], head: int) -> Mapping[int, bytes]:
        known = self.maps[max(at for at in self.maps if at <= head)][part] if self.maps else {}
        return {number: known[number] for number in numbers if number in known}

    def save_map(self, head: int, buckets: Mapping[int, bytes], shelves: Mapping[int, bytes]) -> None:
        before = self.maps[max(self.maps)] if self.maps else ({}, {})
        self.maps[head] = {**before[0], **buckets}, {**before[1], **shelves}

    def note(self, tree: int, size: int) -> str | None:
        return self.notes.get((tree, size))

    def add_note(self, tree: int, size: int, note: str) -> None:
        assert (tree, size) not in self.notes
        self.notes[tree, size] = note

    def cosign(self, tree: int, size: int, lines: str) -> None:
        self.notes[tree, size] += lines

    def file(self, digest: str) -> str | None:
        return self.files.get(digest)

    def add_file(self, digest: str, content: str) -> None:
        self.files[digest] = content

    def keys(self, now: datetime, current: Collection[str] = ()) -> list[tuple[str, datetime, datetime | None]]:
        if current:
            for key, (since, until) in list(self.signed_by.items()):
                self.signed_by[key] = since, None if key in current else until or now
            self.signed_by |= {key: (now, None) for key in current if key not in self.signed_by}
        return sorted(((key, *dates) for key, dates in self.signed_by.items()), key=lambda one: (one[1], one[0]))

    def witnessed(self, witness: str) -> Mapping[int, int]:
        return dict(self.known.get(witness, {}))

    def save_witnessed(self, witness: str, tree: int, size: int) -> None:
        self.known.setdefault(witness, {})[tree] = size
