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
import types
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any

from fastavro.schema import parse_schema

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
    """One class as Avro.

    ``schema`` is what is published. ``flat`` is the same on the wire, without logical types, and with the fields of
    nested records in their place (``code__system``): Avro writes a record as its fields and nothing else, and one
    dict is faster than three. ``dump`` makes flat data of an object, ``build`` an object of flat data.
    """

    cls: type[Any]
    schema: dict[str, Any]
    flat: Any
    dump: Convert
    build: Convert


@cache
def shape(cls: Any) -> Shape:
    """The shape of an event class or of a nested value class.

    Raises
    ------
    TypeError
        A field has a type that has no place in the published language.
    """
    return Shape(cls, schema_of(cls, set()), parse_schema(_flat(cls, set())), _dump(cls), _build(cls))


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
            made["default"] = _json(default)
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
    if _is_record(kind):
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


def _json(value: Any) -> Any:
    """A default as Avro writes it in JSON: bytes become a string of the code points 0 to 255."""
    match value:
        case bytes():
            return value.decode("latin-1")
        case datetime():
            return micros(value)
        case tuple():
            return [_json(part) for part in value]
        case _ if dataclasses.is_dataclass(value):
            return {field.name: _json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return value


@dataclasses.dataclass(frozen=True, slots=True)
class _Leaf:
    """A field of the class or of a record nested in it: ``path`` leads there, ``kind`` is its type."""

    path: tuple[str, ...]
    owner: type[Any]
    kind: Any

    @property
    def name(self) -> str:
        return "__".join(self.path)


def _leaves(cls: type[Any], path: tuple[str, ...] = ()) -> Iterator[_Leaf]:
    """All fields, in the order of the wire, those of nested records in their place."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, here = hints[field.name], (*path, field.name)
        if _is_record(kind):
            yield from _leaves(kind, here)
        else:
            yield _Leaf(here, cls, kind)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _flat(cls: type[Any], named: set[str]) -> Any:
    name = record_name(cls)
    if name in named:
        return name
    named.add(name)
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": leaf.name, "type": _flat_type(leaf.kind, named)} for leaf in _leaves(cls)],
    }


def _flat_type(kind: Any, named: set[str]) -> Any:
    if kind is datetime:
        return "long"
    if (inner := _optional(kind)) is not None:
        return ["null", _flat_type(inner, named)]
    if (item := _items(kind)) is not None:
        return {"type": "array", "items": _flat_type(item, named)}
    return _flat(kind, named) if _is_record(kind) else PRIMITIVES[kind]


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
    if _is_record(kind):
        return _dump(kind), _build(kind)
    return None, None


def _unless_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert | None, make: Callable[[Any], Any]) -> Convert:
    return make if convert is None else lambda values: make(map(convert, values))


def _dump(cls: type[Any]) -> Convert:
    leaves = list(_leaves(cls))
    names = tuple(leaf.name for leaf in leaves)
    paths = [".".join(leaf.path) for leaf in leaves]
    get: Convert = attrgetter(*paths) if len(paths) > 1 else lambda value: (getattr(value, paths[0]),)
    converters = [(leaf.name, convert) for leaf in leaves if (convert := _converters(leaf.kind)[0]) is not None]

    def dump(value: Any) -> dict[str, Any]:
        flat = dict(zip(names, get(value), strict=True))
        for name, convert in converters:
            flat[name] = convert(flat[name])
        return flat

    return dump


def _build(cls: type[Any]) -> Convert:
    """A constructor that sets the slots directly: a frozen dataclass's own pays twice for every field."""
    new: Callable[[type[Any]], Any] = object.__new__
    parts = list(_records(cls))
    places = {path: number for number, (path, _) in enumerate(parts)}
    classes = [part for _, part in parts]
    links = [
        (places[path[:-1]], _setter(classes[places[path[:-1]]], path[-1]), n) for path, n in places.items() if path
    ]
    leaves = list(_leaves(cls))
    setters = [(places[leaf.path[:-1]], _setter(leaf.owner, leaf.path[-1])) for leaf in leaves]
    converters = [(leaf.name, convert) for leaf in leaves if (convert := _converters(leaf.kind)[1]) is not None]

    def build(flat: dict[str, Any]) -> Any:
        """``flat`` has the fields in the order of the wire, as a reader of Avro leaves them."""
        for name, convert in converters:
            flat[name] = convert(flat[name])
        made = [new(part) for part in classes]
        for (owner, setter), value in zip(setters, flat.values(), strict=True):
            setter(made[owner], value)
        for owner, setter, part in links:
            setter(made[owner], made[part])
        return made[0]

    return build


def _records(cls: type[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Any]]]:
    """The class, and the classes of records nested in it, with the paths that lead there."""
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__name__}: an event is what was said, so its class has no __post_init__")
    yield path, cls
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if _is_record(hints[field.name]):
            yield from _records(hints[field.name], (*path, field.name))


def _setter(cls: type[Any], name: str) -> Callable[[Any, Any], None]:
    setter: Callable[[Any, Any], None] = getattr(cls, name).__set__  # the slot's descriptor
    return setter
