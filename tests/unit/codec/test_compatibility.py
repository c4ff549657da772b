"""Avro 1.12, "Schema Resolution": https://avro.apache.org/docs/1.12.0/specification/#schema-resolution"""

from __future__ import annotations

from typing import Any

import pytest

from epicrisis.codec.compatibility import incompatibilities


def record(*fields: dict[str, Any], name: str = "a.R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, type: Any = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


ENUM = {"type": "enum", "name": "a.E", "symbols": ["x", "y"]}
FIXED = {"type": "fixed", "name": "a.F", "size": 16}
TREE = record(field("children", {"type": "array", "items": "a.R"}), field("name"))

READABLE = [
    ("the same", record(field("a")), record(field("a"))),
    ("a field less", record(field("a")), record(field("a"), field("b"))),
    ("a field more, with a default", record(field("a"), field("b", default="")), record(field("a"))),
    ("another order", record(field("a"), field("b")), record(field("b"), field("a"))),
    ("optional now", record(field("a", ["null", "string"])), record(field("a"))),
    ("int to long, float, double", record(field("a", "double")), record(field("a", "int"))),
    ("long to float", "float", "long"),
    ("float to double", "double", "float"),
    ("string to bytes", "bytes", "string"),
    ("bytes to string", "string", "bytes"),
    ("a field with an alias", record(field("new", aliases=["old"])), record(field("old"))),
    ("a record with an alias", record(field("a"), name="a.New", aliases=["a.R"]), record(field("a"))),
    ("the same unqualified name", record(field("a"), name="b.R"), record(field("a"))),
    ("more arms", ["null", "string", "long"], ["null", "string"]),
    ("one arm of a union, promoted", ["null", "double"], "long"),
    ("a symbol more", ENUM | {"symbols": ["x", "y", "z"]}, ENUM),
    ("a symbol less, with a default", ENUM | {"symbols": ["x"], "default": "x"}, ENUM),
    ("arrays", {"type": "array", "items": "long"}, {"type": "array", "items": "int"}),
    ("maps", {"type": "map", "values": "long"}, {"type": "map", "values": "int"}),
    ("fixed", FIXED, FIXED),
    ("recursive", TREE, TREE),
    ("a logical type", {"type": "long", "logicalType": "timestamp-micros"}, "long"),
]

UNREADABLE = [
    ("a field more, without a default", record(field("a"), field("b")), record(field("a")), "b: new without a default"),
    ("a renamed field", record(field("new")), record(field("old")), "new: new without a default"),
    ("another type", record(field("a", "long")), record(field("a")), "a: written as string, read as long"),
    ("a promotion backwards", "int", "long", "the whole: written as long, read as int"),
    ("no longer optional", record(field("a")), record(field("a", ["null", "string"])), "written as null"),
    ("an arm less", ["null", "string"], ["null", "long"], "long is not in the reader's union"),
    ("a renamed record", record(field("a"), name="a.New"), record(field("a")), "a.R was renamed to a.New"),
    ("deep inside", record(field("a", record(field("b", "int"), name="a.I"))),
     record(field("a", record(field("b"), name="a.I"))), "a.b: written as string"),
    ("in an array", {"type": "array", "items": "int"}, {"type": "array", "items": "string"}, "[]: written as string"),
    ("in a map", {"type": "map", "values": "int"}, {"type": "map", "values": "string"}, "{}: written as string"),
    ("another size", FIXED | {"size": 8}, FIXED, "another size"),
    ("a lost symbol", ENUM | {"symbols": ["x"]}, ENUM, "symbol y is gone"),
    ("a record for a string", record(field("a")), "string", "written as string, read as record"),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "writer"), [case[1:] for case in READABLE], ids=[case[0] for case in READABLE])
def test_this_can_be_read(reader: Any, writer: Any) -> None:
    assert incompatibilities(reader, writer) == []


@pytest.mark.parametrize(
    ("reader", "writer", "words"), [case[1:] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE]
)
def test_this_cannot_be_read(reader: Any, writer: Any, words: str) -> None:
    assert words in "; ".join(incompatibilities(reader, writer))


def test_a_reference_is_its_definition() -> None:
    inner = record(field("x"), name="a.I")
    old = record(field("first", inner), field("second", "a.I"))
    new = record(field("second", inner), field("first", "a.I"))
    assert incompatibilities(new, old) == []
