"""Reading Avro by hand: most of what a worker does with an event is this.

What is read here is plain Avro; `writing.py` writes it, and fastavro reads it the same (a test compares). Stricter:
one form per value, and nothing is allocated before its length was checked.
"""

from __future__ import annotations

import itertools
import struct
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from epicrisis.event import fields_of, is_record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Read = Callable[[bytes, int], tuple[Any, int]]
"""Of the bytes and a position: the value that begins there, and where it ends."""


class Leaf(NamedTuple):
    """A field of a class or of a record nested in it: ``path`` leads there, ``kind`` is its type."""

    path: tuple[str, ...]
    kind: Any

    @property
    def name(self) -> str:
        return "__".join(self.path)


def leaves(cls: type[Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """All fields, in the order of the wire, those of nested records in their place."""
    hints = typing.get_type_hints(cls)
    for name in fields_of(cls):
        kind, here = hints[name], (*path, name)
        if is_record(kind):
            yield from leaves(kind, here)
        else:
            yield Leaf(here, kind)


def reader(cls: type[Any]) -> Read:
    """How a record is read: the list of its leaves' values, in order.

    It raises ValueError, IndexError or OverflowError where the bytes are not such a record. Where they end too early,
    the position returned may also lie behind their end.
    """
    steps = [None if leaf.kind is str else _reader(leaf.kind) for leaf in leaves(cls)]

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        for step in steps:
            if step is None and not (length := data[at]) & 0x81:  # a text of up to 63 bytes
                end = at + 1 + (length >> 1)
                values.append(data[at + 1 : end].decode())
                at = end
            else:
                value, at = (step or _text)(data, at)
                values.append(value)
        return values, at

    return read


def finder(cls: type[Any], field: str) -> Callable[[bytes], bytes]:
    """How a field of bytes is found in a record whose other values nobody wants. It raises what a `reader` raises."""
    before = itertools.takewhile(lambda leaf: leaf.name != field, leaves(cls))
    steps = [None if leaf.kind is str else _reader(leaf.kind) for leaf in before]

    def find(data: bytes) -> bytes:
        at = 0
        for step in steps:
            if step is None and not (length := data[at]) & 0x81:  # a text of up to 63 bytes
                at += 1 + (length >> 1)
            else:
                at = (step or _text)(data, at)[1]
        return _bytes(data, at)[0]

    return find


def maker(cls: type[Any]) -> Callable[[Sequence[Any]], Any]:
    """How an object is made of its leaves' values: one call written out, as dataclasses write theirs."""
    number = itertools.count()
    classes: dict[str, Any] = {}

    def call(kind: type[Any]) -> str:
        hints, name = typing.get_type_hints(kind), f"c{len(classes)}"
        classes[name] = kind
        given = (call(hints[f]) if is_record(hints[f]) else f"v[{next(number)}]" for f in fields_of(kind))
        return f"{name}({', '.join(f'{f}={text}' for f, text in zip(fields_of(kind), given, strict=True))})"

    made: Callable[[Sequence[Any]], Any] = eval(f"lambda v: {call(cls)}", classes)  # noqa: S307  # our own classes' fields
    return made


def _reader(kind: Any) -> Read:
    if (inner := optional(kind)) is not None:
        return _maybe(_reader(inner))
    if (item := items(kind)) is not None:
        return _array(_reader(item))
    return _record(kind) if is_record(kind) else _PRIMITIVES[kind]


def _record(cls: type[Any]) -> Read:
    fields, make = reader(cls), maker(cls)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        values, at = fields(data, at)
        return make(values), at

    return read


def _maybe(inner: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        arm = data[at]
        if arm == 0:
            return None, at + 1
        if arm != 2:
            raise ValueError("no such union arm")
        return inner(data, at + 1)

    return read


def _array(item: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        found = []
        count, at = long(data, at)
        while count:
            if not 0 < count <= len(data) - at:
                raise ValueError("an array of more items than bytes, or in a form that we do not write")
            for _ in range(count):
                value, at = item(data, at)
                found.append(value)
            count, at = long(data, at)
        return tuple(found), at

    return read


def long(data: bytes, at: int) -> tuple[int, int]:
    """A long: zigzag and variable length, at most 10 bytes, the shortest form only."""
    byte = data[at]
    at += 1
    count = byte & 0x7F
    shift = 7
    while byte & 0x80:
        byte = data[at]
        at += 1
        count |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70 or byte == 0:
            raise ValueError("a number in too many bytes")
    if count >> 64:
        raise OverflowError("a number of more than 64 bits")
    return (count >> 1) ^ -(count & 1), at


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = long(data, at)
    if not 0 <= length <= len(data) - at:
        raise ValueError("a length beyond the end")
    return data[at : at + length], at + length


def _text(data: bytes, at: int) -> tuple[str, int]:
    raw, at = _bytes(data, at)
    return raw.decode(), at


def _boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise ValueError("neither true nor false")
    return data[at] == 1, at + 1


def _double(data: bytes, at: int) -> tuple[float, int]:
    if len(data) - at < 8:
        raise IndexError
    return struct.unpack_from("<d", data, at)[0], at + 8


def _moment(data: bytes, at: int) -> tuple[datetime, int]:
    count, at = long(data, at)
    return moment(count), at


def moment(count: int) -> datetime:
    """The datetime in UTC of microseconds since 1970, exactly."""
    return EPOCH + timedelta(0, 0, count)


def optional(kind: Any) -> Any:
    """X of ``X | None``, or None where it is something else."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        arms = [arm for arm in typing.get_args(kind) if arm is not type(None)]
        if len(arms) == 1 and len(typing.get_args(kind)) == 2:
            return arms[0]
    return None


def items(kind: Any) -> Any:
    """T of ``tuple[T, ...]``, or None where it is something else."""
    if typing.get_origin(kind) is tuple:
        match typing.get_args(kind):
            case (item, dots) if dots is ...:
                return item
    return None


_PRIMITIVES: dict[Any, Read] = {
    str: _text, bytes: _bytes, int: long, bool: _boolean, float: _double, datetime: _moment,
}  # fmt: skip
