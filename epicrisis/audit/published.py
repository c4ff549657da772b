"""The trees as static files in the layout of C2SP tlog-tiles: for any web server, or for whoever keeps a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from epicrisis.audit.records import HEADS, Records
from epicrisis.audit.tiles import WIDTH, path
from epicrisis.audit.verifier.history import Head
from epicrisis.audit.verifier.merkle import HASH
from epicrisis.errors import Refused


def files(at: Records) -> Iterator[tuple[str, bytes]]:
    """Name and content of each, as of the newest trusted head: a checkpoint and tiles of every tree.

    The log of heads is ``log``, with its entries; a partition's tree is ``log/<partition>``, without: its entries name
    subjects.

    Raises
    ------
    Refused
        There is no trusted checkpoint yet.
    """
    newest = at.head(trusted=True)
    if newest is None:
        raise Refused("there is no checkpoint yet that enough witnesses have cosigned: see `epicrisis checkpoint`")
    trees = {tree: size for tree, (size, _) in enumerate(Head.parse(newest.entry).trees) if size}
    for tree, size in {HEADS: newest.number + 1, **trees}.items():
        folder = "log" if tree == HEADS else f"log/{tree}"
        yield f"{folder}/checkpoint", (at.note(tree, size) or "").encode()
        for level, number, width in places(size):
            yield f"{folder}/{path(level, number, width)}", at.tile(tree, level, number)[: width * HASH]
    for _, number, width in places(newest.number + 1, levels=1):
        yield f"log/{path('entries', number, width)}", b"".join(_entries(at, number * WIDTH, width))


def places(size: int, levels: int = 64) -> Iterator[tuple[int, int, int]]:
    """Level, number and width of every tile of a tree of this size."""
    for level in range(levels):
        count = size >> 8 * level
        for number in range(-(-count // WIDTH)):
            yield level, number, min(WIDTH, count - number * WIDTH)


def _entries(at: Records, first: int, count: int) -> Iterator[bytes]:
    for number in range(first, first + count):
        stored = at.head(number)
        entry = b"" if stored is None else stored.entry.encode()
        yield len(entry).to_bytes(2, "big") + entry


def write(at: Records, folder: Path) -> int:
    """All of them into a folder; how many were not there yet. Full tiles that are there stay as they are."""
    written = 0
    for name, content in files(at):
        file = folder / name
        if file.name != "checkpoint" and file.is_file() and file.stat().st_size == len(content):
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_bytes(content)
        new.replace(file)
        written += 1
    return written
