"""What compression gains on FHIR files. `python -m epicrisis.codec.train --report FOLDER` prints it."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from epicrisis.codec.dictionaries import Dictionaries
from epicrisis.codec.layout import unindented


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")


class _Resource(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    entry: list[_Entry] = []


class Row(msgspec.Struct, frozen=True):
    """Bytes of all resources of one type: as they came, then without indentation and with zstd alone, or with the
    dictionary as the codec does.
    """

    resource_type: str
    resources: int
    raw: int
    plain: int
    packed: int


def resources(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Type and bytes of every resource in JSON and NDJSON files, gzip or not; Bundles are taken apart."""
    read = msgspec.json.Decoder(_Resource).decode
    for path in paths:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for document in data.splitlines() if ".ndjson" in path.name else [data]:
            try:
                top = read(document)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # some test files are deliberately not JSON
            parts = [bytes(entry.resource) for entry in top.entry if entry.resource] or [document]
            yield from ((read(part).resource_type, part) for part in parts)


def measure(paths: Iterable[Path], dictionaries: Dictionaries | None = None) -> list[Row]:
    """What the dictionaries gain, by resource type, the most frequent first."""
    packer = dictionaries or Dictionaries.load()
    plain = zstandard.ZstdCompressor(level=3)
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for kind, raw in resources(paths):
        row, kept = sums[kind], unindented(raw)
        row[0] += 1
        row[1] += len(raw)
        row[2] += len(plain.compress(kept))
        row[3] += len(packer.compress(kept, kind))
    rows = [Row(kind, *counts) for kind, counts in sums.items()]
    return sorted(rows, key=lambda row: -row.resources)


def total(rows: Iterable[Row]) -> dict[str, Any]:
    """Averages over some rows: bytes a resource, and the share that the dictionaries save."""
    sums = [(row.resources, row.raw, row.plain, row.packed) for row in rows]
    count, raw, plain, packed = (sum(column) for column in zip(*sums, strict=True))
    return {
        "resources": count,
        "raw": raw / count,
        "plain": plain / count,
        "packed": packed / count,
        "gain": 1 - packed / plain,
    }
