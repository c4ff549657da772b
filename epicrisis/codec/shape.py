"""The shape of an event class: its Avro schema, and the way from an object to plain Avro data and back.

| Python | Avro |
|---|---|
| str, bytes, int, bool, float | string, bytes, long, boolean, double |
| tuple[T, ...] | array |
| a nested @value class | record |
| X \\| None | ["null", X] |
| datetime (aware) | long, timestamp-micros |

Plain Avro data is what upcasts work on: dicts, lists, strings, bytes, numbers; a datetime is a count of microseconds.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRIMITIVES: dict[Any, str] = {str: "string", bytes: "bytes", int: "long", bool: "boolean", float: "double"}

Convert = Callable[[Any], Any]


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    since = moment - EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def moment(count: int) -> datetime:
    """The datetime in UTC of microseconds since 1970, exactly."""
    return EPOCH + timedelta(0, 0, count)


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """One class as Avro: ``dump`` makes plain data of an object, ``build`` an object of plain data.

    ``build`` raises KeyError where a field is missing.
    """

    cls: type[Any]
    schema: dict[str, Any]
    dump: Callable[[Any], dict[str, Any]]
    build: Callable[[dict[str, Any]], Any]


@cache
def shape(cls: Any) -> Shape:
    """The shape of an event class or of a nested value class.

    Raises
    ------
    TypeError
        A field has a type that has no place in the published language.
    """
    return Shape(cls, schema_of(cls, set()), _dump(cls), _build(cls))


def record_name(cls: type[Any]) -> str:
    """The Avro name of a class: ``epicrisis.<context>.<Class>``."""
    return f"epicrisis.{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"


def schema_of(cls: type[Any], named: set[str]) -> dict[str, Any]:
    """The Avro schema of a class; names in ``named`` are defined already."""
    name = record_name(cls)
    named.add(name)
    hints = typing.get_type_hints(cls)
    fields = []
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        made: dict[str, Any] = {"name": field.name, "type": _type(kind, named, f"{cls.__name__}.{field.name}")}
        default = _default(field)
        if default is not dataclasses.MISSING:
            made["default"] = _json(_converters(kind)[0], default)
        elif _optional(kind) is not None:
            made["default"] = None
        fields.append(made)
    if not fields:
        raise TypeError(f"{cls.__name__} has no fields: give it at least the id of what it is about")
    doc = " ".join((cls.__doc__ or "").split())
    return {"type": "record", "name": name, "doc": doc, "fields": fields}


def _type(kind: Any, named: set[str], where: str) -> Any:
    if kind in PRIMITIVES:
        return PRIMITIVES[kind]
    if kind is datetime:
        return {"type": "long", "logicalType": "timestamp-micros"}
    if (inner := _optional(kind)) is not None:
        return ["null", _type(inner, named, where)]
    if (item := _items(kind)) is not None:
        return {"type": "array", "items": _type(item, named, where)}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        name = record_name(kind)
        return name if name in named else schema_of(kind, named)
    raise TypeError(
        f"{where}: {kind!r} cannot be published; use str, bytes, int, bool, float, datetime, tuple[T, ...], "
        "a @value class, or one of these | None"
    )


def _optional(kind: Any) -> Any:
    """X of ``X | None``, or None where it is something else."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        arms = [arm for arm in typing.get_args(kind) if arm is not type(None)]
        if len(arms) == 1 and len(typing.get_args(kind)) == 2:
            return arms[0]
    return None


def _items(kind: Any) -> Any:
    """T of ``tuple[T, ...]``, or None where it is something else."""
    if typing.get_origin(kind) is tuple:
        match typing.get_args(kind):
            case (item, dots) if dots is ...:
                return item
    return None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _json(dump: Convert | None, value: Any) -> Any:
    """A default as Avro writes it in JSON: bytes become a string of the code points 0 to 255."""
    return _bytes_as_text(dump(value) if dump else value)


def _bytes_as_text(value: Any) -> Any:
    match value:
        case bytes():
            return value.decode("latin-1")
        case dict():
            return {name: _bytes_as_text(part) for name, part in value.items()}
        case list():
            return [_bytes_as_text(part) for part in value]
        case _:
            return value


def _converters(kind: Any) -> tuple[Convert | None, Convert | None]:
    """How a value of this type is dumped and built; None where it stays as it is."""
    if kind is datetime:
        return micros, moment
    if (inner := _optional(kind)) is not None:
        dump, build = _converters(inner)
        return dump and _unless_none(dump), build and _unless_none(build)
    if (item := _items(kind)) is not None:
        dump, build = _converters(item)
        return _each(dump, list), _each(build, tuple)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dump(kind), _build(kind)
    return None, None


def _unless_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert | None, make: Callable[[Any], Any]) -> Convert:
    return make if convert is None else lambda values: make(map(convert, values))


def _dump(cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    hints = typing.get_type_hints(cls)
    names = tuple(field.name for field in dataclasses.fields(cls))
    converters = [(name, convert) for name in names if (convert := _converters(hints[name])[0]) is not None]
    get: Callable[[Any], Any] = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)

    def dump_all(value: Any) -> dict[str, Any]:
        plain = dict(zip(names, get(value), strict=True))
        for name, convert in converters:
            plain[name] = convert(plain[name])
        return plain

    return dump_all


def _build(cls: type[Any]) -> Callable[[dict[str, Any]], Any]:
    """A constructor that sets the slots directly: a frozen dataclass's own pays twice for every field."""
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__name__}: an event is what was said, so its class has no __post_init__")
    hints = typing.get_type_hints(cls)
    new: Callable[[type[Any]], Any] = object.__new__
    plain, converted = [], []
    for field in dataclasses.fields(cls):
        convert = _converters(hints[field.name])[1]
        setter = getattr(cls, field.name).__set__  # the slot's descriptor
        if convert is None:
            plain.append((setter, field.name))
        else:
            converted.append((setter, field.name, convert))

    def build(data: dict[str, Any]) -> Any:
        made = new(cls)
        for setter, name in plain:
            setter(made, data[name])
        for setter, name, convert in converted:
            setter(made, convert(data[name]))
        return made

    return build
