"""Read FHIR files: JSON or NDJSON, plain or gzip, a document at a time, with a cap on what comes out.

A file whose name ends in `.ndjson` or `.ndjson.gz` holds a document a line; any other is one document. Whether it is
compressed is seen from its first bytes.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import Malformed
from .limits import Limits

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One JSON text: `name` is the file, `line` its line in an NDJSON file, counted from 1."""

    name: str
    line: int | None
    raw: bytes

    @property
    def place(self) -> str:
        """How messages call it."""
        return self.name if self.line is None else f"{self.name} line {self.line}"


def open_documents(path: Path | str, limits: Limits | None = None) -> Iterator[Document]:
    """The documents of a file, in order. Raises `Malformed` naming file and line; a missing file raises OSError."""
    path, limits = Path(path), limits or Limits()
    with path.open("rb") as plain:
        zipped = plain.read(2) == _GZIP
        plain.seek(0)
        with gzip.GzipFile(fileobj=plain) if zipped else plain as stream:
            try:
                if path.name.removesuffix(".gz").endswith(".ndjson"):
                    yield from _lines(stream, path.name, limits)
                else:
                    yield _whole(stream, path.name, limits)
            except (EOFError, gzip.BadGzipFile, zlib.error):
                raise Malformed("the gzip file is cut off or damaged: send it again", where=path.name) from None


def _whole(stream: BinaryIO | gzip.GzipFile, name: str, limits: Limits) -> Document:
    cap = min(limits.bundle, limits.file)
    raw = stream.read(cap + 1)
    if len(raw) > cap:
        raise Malformed(f"the document is larger than the {cap:,} bytes that are accepted: split it", where=name)
    return Document(name=name, line=None, raw=raw)


def _lines(stream: BinaryIO | gzip.GzipFile, name: str, limits: Limits) -> Iterator[Document]:
    total, number = 0, 0
    while line := stream.readline(limits.bundle + 2):
        number += 1
        total += len(line)
        raw = line.strip(b" \t\r\n")
        if len(raw) > limits.bundle:
            where = f"{name} line {number}"
            raise Malformed(f"the line is larger than the {limits.bundle:,} bytes that are accepted", where=where)
        if total > limits.file:
            raise Malformed(f"the file holds more than the {limits.file:,} bytes that are accepted", where=name)
        if raw:
            yield Document(name=name, line=number, raw=raw)
