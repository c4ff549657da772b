"""What checkpoints are made of and leave behind. `MemoryRecords` and `PostgresRecords` keep it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

HEADS, ACCESSES = -1, -2
"""The tree of heads, and that of accesses to records; all others are log partitions."""


class Stored(NamedTuple):
    """A head: its entry in the log of heads, as text."""

    number: int
    entry: str


class Records(Protocol):
    """One transaction."""

    def lock(self) -> None:
        """Until the end of the transaction nobody else makes a checkpoint."""
        ...

    def head(self, number: int | None = None, *, trusted: bool = False) -> Stored | None:
        """This head, or the newest one, or the newest one that enough witnesses have cosigned."""
        ...

    def add_head(self, number: int, entry: str) -> None:
        """The next one."""
        ...

    def trust(self, number: int, sizes: Mapping[int, int]) -> None:
        """Enough witnesses have cosigned this one, with these sizes of the trees: forget what only older ones need."""
        ...

    def entries(self, partition: int, first: int) -> list[tuple[int, bytes]]:
        """A partition's entries from ``first`` on, in parts with the index of their first; perhaps not all."""
        ...

    def accesses(self, partition: int, partitions: int, first: int, last: int) -> list[int]:
        """Which entries of a partition (of so many) are accesses, from ``first`` to before ``last``, in order."""
        ...

    def tile(self, tree: int, level: int, number: int) -> bytes:
        """Its hashes, as many as there are."""
        ...

    def add_tiles(self, tree: int, added: Mapping[tuple[int, int], bytes]) -> None:
        """More hashes at the end of these tiles (level, number)."""
        ...

    def buckets(self, numbers: Collection[int], head: int) -> Mapping[int, bytes]:
        """Parts of the map of all subjects as of a head; absent: empty."""
        ...

    def shelves(self, numbers: Collection[int], head: int) -> Mapping[int, bytes]:
        """Hashes of parts of the map as of a head; absent: as in an empty map."""
        ...

    def save_map(self, head: int, buckets: Mapping[int, bytes], shelves: Mapping[int, bytes]) -> None:
        """What has changed with this head."""
        ...

    def note(self, tree: int, size: int) -> str | None:
        """The signed note of this tree at this size."""
        ...

    def add_note(self, tree: int, size: int, note: str) -> None:
        """As the log signed it."""
        ...

    def cosign(self, tree: int, size: int, lines: str) -> None:
        """More signatures on a note."""
        ...

    def file(self, digest: str) -> str | None:
        """A published file by its SHA-256."""
        ...

    def add_file(self, digest: str, content: str) -> None:
        """Kept once."""
        ...

    def keys(self, now: datetime, current: Collection[str] = ()) -> list[tuple[str, datetime, datetime | None]]:
        """Every key that has ever signed, and when. ``current``: those that sign from now on, and no others do."""
        ...

    def witnessed(self, witness: str) -> Mapping[int, int]:
        """How far this witness knows the trees."""
        ...

    def save_witnessed(self, witness: str, tree: int, size: int) -> None:
        """It knows this one so far."""
        ...


class RecordStore(Protocol):
    """Where it is kept."""

    def transaction(self) -> AbstractContextManager[Records]:
        """Committed at the end, rolled back on any error."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...
