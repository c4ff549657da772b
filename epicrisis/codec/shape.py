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
from operator import attrgetter
from typing import Any

from fastavro.schema import parse_schema

from epicrisis.codec.avro import EPOCH, Read, items, leaves, maker, optional, reader
from epicrisis.event import NOTHING, default_of, fields_of, is_record

PRIMITIVES: dict[Any, str] = {str: "string", bytes: "bytes", int: "long", bool: "boolean", float: "double"}

Convert = Callable[[Any], Any]


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    since = moment - EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """One class as Avro.

    ``schema`` is what is published. ``flat`` is the same on the wire, without logical types, and with the fields of
    nested records in their place (``code__system``): Avro writes a record as its fields and nothing else, and one
    dict is faster than three. ``dump`` makes flat data of an object, ``read`` the leaves' values of Avro, ``make``
    an object of these.
    """

    cls: type[Any]
    schema: dict[str, Any]
    flat: Any
    dump: Convert
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
    return Shape(cls, schema_of(cls, set()), parse_schema(_flat(cls, set())), _dump(cls), reader(cls), maker(cls))


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


def _flat(cls: type[Any], named: set[str]) -> Any:
    name = record_name(cls)
    if name in named:
        return name
    named.add(name)
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": leaf.name, "type": _flat_type(leaf.kind, named)} for leaf in leaves(cls)],
    }


def _flat_type(kind: Any, named: set[str]) -> Any:
    if kind is datetime:
        return "long"
    if (inner := optional(kind)) is not None:
        return ["null", _flat_type(inner, named)]
    if (item := items(kind)) is not None:
        return {"type": "array", "items": _flat_type(item, named)}
    return _flat(kind, named) if is_record(kind) else PRIMITIVES[kind]


def _converter(kind: Any) -> Convert | None:
    """How a value of this type is dumped; None where it stays as it is."""
    if kind is datetime:
        return micros
    if (inner := optional(kind)) is not None:
        convert = _converter(inner)
        return convert and _unless_none(convert)
    if (item := items(kind)) is not None:
        return _each(_converter(item))
    return _dump(kind) if is_record(kind) else None


def _unless_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert | None) -> Convert:
    return list if convert is None else lambda values: list(map(convert, values))


def _dump(cls: type[Any]) -> Convert:
    found = list(leaves(cls))
    names = tuple(leaf.name for leaf in found)
    paths = [".".join(leaf.path) for leaf in found]
    get: Convert = attrgetter(*paths) if len(paths) > 1 else lambda value: (getattr(value, paths[0]),)
    converters = [(leaf.name, convert) for leaf in found if (convert := _converter(leaf.kind)) is not None]

    def dump(value: Any) -> dict[str, Any]:
        flat = dict(zip(names, get(value), strict=True))
        for name, convert in converters:
            flat[name] = convert(flat[name])
        return flat

    return dump
