"""Merkle trees kept as tiles (https://c2sp.org/tlog-tiles): 256 hashes each, every level eight tree levels up.

A tile only ever grows: a partial one is a full one's beginning. So one stored tile serves every earlier size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from epicrisis.audit.merkle import consistency, inclusion, root
from epicrisis.audit.verifier.merkle import HASH, Wrong, node_hash, root_of

WIDTH = 256
ReadTile = Callable[[int, int], bytes]
"""``(level, number) -> hashes`` of a tile, as many as there are."""


def path(level: int | str, number: int, width: int = WIDTH) -> str:
    """Where tlog-tiles serves a tile: ``tile/0/x001/x234/067``, ``tile/1/000.p/17``."""
    parts = [f"{number % 1000:03}"]
    while number := number // 1000:
        parts.insert(0, f"x{number % 1000:03}")
    return f"tile/{level}/{'/'.join(parts)}" + (f".p/{width}" if width < WIDTH else "")


class Tree:
    """A tree by its tiles, at any size that they have reached."""

    def __init__(self, read: ReadTile) -> None:
        self._read = lru_cache(maxsize=256)(read)
        self._rows = lru_cache(maxsize=64)(self._pyramid)

    def root(self, size: int) -> bytes:
        """The root of the first ``size`` leaves."""
        return root(self._node, size)

    def leaf(self, index: int) -> bytes:
        """The hash of a leaf."""
        return self._node(0, index)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """See `merkle.inclusion`."""
        return inclusion(self._node, index, size)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """See `merkle.consistency`."""
        return consistency(self._node, old, size)

    def _node(self, height: int, index: int) -> bytes:
        level, up = divmod(height, 8)
        number, at = divmod(index << up, WIDTH)
        rows = self._rows(level, number)
        if at + (1 << up) > len(rows[0]):
            raise Wrong("the tiles of a tree are shorter than they were signed")
        return rows[up][at >> up]

    def _pyramid(self, level: int, number: int) -> list[list[bytes]]:
        """A tile's hashes, and those of the full subtrees over them, eight rows up."""
        raw = self._read(level, number)
        rows = [[raw[at : at + HASH] for at in range(0, len(raw), HASH)]]
        for _ in range(8):
            below = rows[-1]
            rows.append([node_hash(below[n], below[n + 1]) for n in range(0, len(below) - 1, 2)])
        return rows


def grown(read: ReadTile, size: int, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """What to add to which tiles (level, number) when ``leaves`` (hashes) follow the first ``size`` ones."""
    added: dict[tuple[int, int], bytes] = {}
    level, at, new = 0, size, list(leaves)
    while new:
        above: list[bytes] = []
        done = 0
        while done < len(new):
            number, filled = divmod(at + done, WIDTH)
            some = new[done : done + WIDTH - filled]
            added[level, number] = b"".join(some)
            done += len(some)
            if filled + len(some) == WIDTH:
                before = read(level, number) if filled else b""
                if len(before) != filled * HASH:
                    raise Wrong("a tile is not as long as its tree's size says")
                known = [before[n : n + HASH] for n in range(0, len(before), HASH)]
                above.append(root_of(known + some))
        level, at, new = level + 1, at // WIDTH, above
    return added
