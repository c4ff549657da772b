"""Read documents with a cap on what comes in and on what comes out: bodies that arrive in pieces, and FHIR files.

    body = Body(limits.bundle, zipped=True)
    for piece in request:
        body.add(piece)                     # TooLarge as soon as it is: the rest need not be read
    raw = body.whole()

A file whose name ends in `.ndjson` or `.ndjson.gz` holds a document a line; any other is one document. Whether it is
compressed is seen from its first bytes.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import Malformed, TooLarge
from .limits import Limits

OnRead = Callable[[int], object]
"""Is told how many bytes of a file were read, piece by piece."""

_GZIP = b"\x1f\x8b"
_PIECE = 64 * 1024
_DAMAGED = "the gzip data is cut off or damaged: send it again"


class Unzip:
    """gzip (RFC 1952, any number of members), a piece at a time: no piece makes more than 64 KiB at once."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._begun = False

    def pieces(self, zipped: bytes) -> Iterator[bytes]:
        """What these bytes add. Raises `Malformed` where they are no gzip."""
        for start in range(0, len(zipped), _PIECE):  # zlib copies what it did not use: let that be little
            yield from self._pieces(zipped[start : start + _PIECE])

    def _pieces(self, zipped: bytes) -> Iterator[bytes]:
        while zipped:
            if self._member.eof:
                zipped = zipped.lstrip(b"\x00")  # padding
                if not zipped:
                    return
                self._member, self._begun = zlib.decompressobj(wbits=31), False
            self._begun = True
            try:
                piece = self._member.decompress(zipped, _PIECE)
            except zlib.error:
                raise Malformed(_DAMAGED) from None
            zipped = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            yield piece

    def close(self) -> None:
        """The end: raises `Malformed` where more had to come."""
        if self._begun and not self._member.eof:
            raise Malformed(_DAMAGED)


class Body:
    """A document that comes in pieces, perhaps as gzip: collected up to `cap` bytes, compressed as well as not."""

    def __init__(self, cap: int, *, zipped: bool = False) -> None:
        self._cap, self._came, self._parts = cap, 0, bytearray()
        self._unzip = Unzip() if zipped else None

    def add(self, piece: bytes) -> None:
        """The next bytes. Raises `TooLarge`, or `Malformed` where they are not the gzip that they should be."""
        self._came += len(piece)
        if self._came > self._cap:
            raise self._too_large()
        for part in (piece,) if self._unzip is None else self._unzip.pieces(piece):
            self._parts += part
            if len(self._parts) > self._cap:
                raise self._too_large()

    @property
    def size(self) -> int:
        """How many bytes are held."""
        return len(self._parts)

    def whole(self) -> bytes:
        """All of it. Raises `Malformed` where the gzip was cut off."""
        if self._unzip is not None:
            self._unzip.close()
        return bytes(self._parts)

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the document is larger than the {self._cap:,} bytes that are accepted: split it", rule="too-large"
        )


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


def open_documents(
    path: Path | str, limits: Limits | None = None, on_read: OnRead = lambda _: None
) -> Iterator[Document]:
    """The documents of a file, in order. Raises `Malformed` naming file and line; a missing file raises OSError."""
    path, limits = Path(path), limits or Limits()
    try:
        if path.name.removesuffix(".gz").endswith(".ndjson"):
            yield from _lines(path, limits, on_read)
        else:
            body = Body(min(limits.bundle, limits.file))
            for piece in _pieces(path, on_read):
                body.add(piece)
            yield Document(name=path.name, line=None, raw=body.whole())
    except Malformed as problem:
        if problem.where:
            raise
        raise type(problem)(problem.message, where=path.name, rule=problem.rule) from None


def _pieces(path: Path, on_read: OnRead) -> Iterator[bytes]:
    """A file's bytes, decompressed where it is gzip."""
    with path.open("rb", buffering=0) as file:
        piece = file.read(_PIECE)
        unzip = Unzip() if piece.startswith(_GZIP) else None
        while piece:
            on_read(len(piece))
            if unzip is None:
                yield piece
            else:
                yield from unzip.pieces(piece)
            piece = file.read(_PIECE)
        if unzip is not None:
            unzip.close()


def _lines(path: Path, limits: Limits, on_read: OnRead) -> Iterator[Document]:
    total, number, line = 0, 1, bytearray()
    for piece in _pieces(path, on_read):
        total += len(piece)
        if total > limits.file:
            raise TooLarge(f"the file holds more than the {limits.file:,} bytes that are accepted", rule="too-large")
        first, *others = piece.split(b"\n")
        line += first
        for other in others:
            yield from _line(line, path, number, limits)
            number, line = number + 1, bytearray(other)
        if len(line) > limits.bundle + _PIECE:
            break
    yield from _line(line, path, number, limits)


def _line(line: bytearray, path: Path, number: int, limits: Limits) -> Iterator[Document]:
    raw = bytes(line.strip(b" \t\r\n")) if len(line) <= limits.bundle + _PIECE else bytes(line)
    if len(raw) > limits.bundle:
        where = f"{path.name} line {number}"
        text = f"the line is larger than the {limits.bundle:,} bytes that are accepted; what follows it was not read"
        raise TooLarge(text, where, "too-large")
    if raw:
        yield Document(name=path.name, line=number, raw=raw)
