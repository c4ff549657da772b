"""Writing Avro by hand: bodies and envelopes are written ten thousand times a second.

What is written is plain Avro, the same bytes as fastavro writes (a test compares them); `reading.py` reads bodies.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from epicrisis.codec.reading import EPOCH, items, leaves, optional
from epicrisis.event import is_record

_SHORT = tuple(bytes([n]) for n in range(0x80))
_REMEMBERED = 4096

Write = Callable[[Any], bytes]
"""Of a value: its Avro."""


def taker(cls: type[Any]) -> Callable[[Any], list[Any]]:
    """How the values of its leaves are taken off an object, in order."""
    paths = [".".join(leaf.path) for leaf in leaves(cls)]
    if len(paths) == 1:
        return lambda value: [getattr(value, paths[0])]
    take: Callable[[Any], tuple[Any, ...]] = attrgetter(*paths)
    return lambda value: list(take(value))


def writer(cls: type[Any]) -> Callable[[Sequence[Any]], bytes]:
    """How the values of its leaves are written: one expression written out, as `reading.maker` writes its own."""
    names: dict[str, Any] = {"lengths": _Lengths()}
    parts = []
    for number, leaf in enumerate(leaves(cls)):
        if leaf.kind in (str, bytes):
            raw = f"v[{number}].encode()" if leaf.kind is str else f"v[{number}]"
            parts.append(f"lengths[len(x{number} := {raw})], x{number}, ")
        else:
            names[f"write{number}"] = _writer(leaf.kind)
            parts.append(f"write{number}(v[{number}]), ")
    made: Callable[[Sequence[Any]], bytes] = eval(  # noqa: S307  (of names and numbers made here)
        f"lambda v: b''.join(({''.join(parts)}))", names
    )
    return made


def long(number: int) -> bytes:
    """A long: zigzag, then seven bits a byte, lowest first."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    if rest < 0x80:
        return _SHORT[rest]
    if 0x1FFFFFFFFFFFF < rest < 0x100000000000000:  # 8 bytes: every time after 1978, all seven shifts in three steps
        rest = rest & 0xFFFFFFF | (rest & 0xFFFFFFF0000000) << 4
        rest = rest & 0x3FFF00003FFF | (rest & 0xFFFC0000FFFC000) << 2
        rest = rest & 0x7F007F007F007F | (rest & 0x3F803F803F803F80) << 1
        return (rest | 0x80808080808080).to_bytes(8, "little")
    if rest >> 64:
        raise OverflowError("a number has at most 64 bits")
    made = bytearray()
    while rest > 0x7F:
        made.append(rest & 0x7F | 0x80)
        rest >>= 7
    made.append(rest)
    return bytes(made)


class _Lengths(dict[int, bytes]):
    """Lengths, written; those of short texts are remembered."""

    def __missing__(self, length: int) -> bytes:
        raw = long(length)
        if length < _REMEMBERED:
            self[length] = raw
        return raw


def binary(raw: bytes) -> bytes:
    """Bytes: their length, then they."""
    return long(len(raw)) + raw


def text(value: str) -> bytes:
    """A string: the length of its UTF-8, then that."""
    raw = value.encode()
    return long(len(raw)) + raw


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    since = moment - EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def _writer(kind: Any) -> Write:
    if (inner := optional(kind)) is not None:
        return _maybe(_writer(inner))
    if (item := items(kind)) is not None:
        return _array(_writer(item))
    return _record(kind) if is_record(kind) else _PRIMITIVES[kind]


def _record(cls: type[Any]) -> Write:
    take, write = taker(cls), writer(cls)
    return lambda value: write(take(value))


def _maybe(inner: Write) -> Write:
    return lambda value: b"\x00" if value is None else b"\x02" + inner(value)


def _array(item: Write) -> Write:
    def write(values: Sequence[Any]) -> bytes:
        return long(len(values)) + b"".join(map(item, values)) + b"\x00" if values else b"\x00"

    return write


_PRIMITIVES: dict[Any, Write] = {
    str: text,
    bytes: binary,
    int: long,
    bool: lambda value: b"\x01" if value else b"\x00",
    float: struct.Struct("<d").pack,
    datetime: lambda value: long(micros(value)),
}
