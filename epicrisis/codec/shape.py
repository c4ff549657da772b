"""The shape of an event class: its Avro schema, and the way from an object to Avro data and back.

| Python | Avro |
|---|---|
| str, bytes, int, bool, float | string, bytes, long, boolean, double |
| tuple[T, ...] | array |
| a nested @value class | record |
| X \\| None | ["null", X] |
| datetime (aware) | long, timestamp-micros |
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from epicrisis.codec.reading import Read, items, maker, optional, reader
from epicrisis.codec.writing import micros, taker, writer
from epicrisis.event import NOTHING, default_of, fields_of, is_record

PRIMITIVES: dict[Any, str] = {str: "string", bytes: "bytes", int: "long", bool: "boolean", float: "double"}


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """One class as Avro.

    ``schema`` is what is published. The leaves are the fields, those of nested records in their place: ``leaves`` takes
    their values off an object, ``write`` makes Avro of them, ``read`` the values of Avro, ``make`` an object.
    """

    cls: type[Any]
    schema: dict[str, Any]
    leaves: Callable[[Any], list[Any]]
    write: Callable[[Sequence[Any]], bytes]
    read: Read
    make: Callable[[Sequence[Any]], Any]


@cache
def shape(cls: Any) -> Shape:
    """The shape of an event class or of a nested value class.

    Raises
    ------
    TypeError
        A field has a type that has no place in the published language.
    """
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__name__}: an event is what was said, so its class has no __post_init__")
    return Shape(cls, schema_of(cls, set()), taker(cls), writer(cls), reader(cls), maker(cls))


def record_name(cls: type[Any]) -> str:
    """The Avro name of a class: ``epicrisis.<context>.<Class>``."""
    return f"epicrisis.{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"


def schema_of(cls: type[Any], named: set[str]) -> dict[str, Any]:
    """The Avro schema of a class; names in ``named`` are defined already."""
    full_name = record_name(cls)
    named.add(full_name)
    hints = typing.get_type_hints(cls)
    fields = []
    for name in fields_of(cls):
        kind = hints[name]
        made: dict[str, Any] = {"name": name, "type": _type(kind, named, f"{cls.__name__}.{name}")}
        default = default_of(cls, name)
        if default is not NOTHING:
            made["default"] = _json(default)
        elif optional(kind) is not None:
            made["default"] = None
        fields.append(made)
    if not fields:
        raise TypeError(f"{cls.__name__} has no fields: give it at least the id of what it is about")
    doc = " ".join((cls.__doc__ or "").split())
    return {"type": "record", "name": full_name, "doc": doc, "fields": fields}


def _type(kind: Any, named: set[str], where: str) -> Any:
    if kind in PRIMITIVES:
        return PRIMITIVES[kind]
    if kind is datetime:
        return {"type": "long", "logicalType": "timestamp-micros"}
    if (inner := optional(kind)) is not None:
        return ["null", _type(inner, named, where)]
    if (item := items(kind)) is not None:
        return {"type": "array", "items": _type(item, named, where)}
    if is_record(kind):
        name = record_name(kind)
        return name if name in named else schema_of(kind, named)
    raise TypeError(
        f"{where}: {kind!r} cannot be published; use str, bytes, int, bool, float, datetime, tuple[T, ...], "
        "a @value class, or one of these | None"
    )


def _json(value: Any) -> Any:
    """A default as Avro writes it in JSON: bytes become a string of the code points 0 to 255."""
    match value:
        case bytes():
            return value.decode("latin-1")
        case datetime():
            return micros(value)
        case tuple():
            return [_json(part) for part in value]
        case _ if is_record(type(value)):
            return {name: _json(getattr(value, name)) for name in fields_of(type(value))}
        case _:
            return value
