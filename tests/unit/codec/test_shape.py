from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.codec.reading import moment
from epicrisis.codec.shape import shape
from epicrisis.codec.writing import long, micros
from epicrisis.event import event, record, value
from tests.unit.codec.events import moments, objects


@value
class Inner:
    word: str = ""
    when: datetime | None = None


@value
class Middle:
    inner: Inner
    number: int


@event(version=1)
class Everything:
    text: str
    raw: bytes
    number: int
    share: float
    flag: bool
    at: datetime
    middle: Middle
    inner: Inner = Inner(word="x")
    maybe: str | None = None
    maybe_inner: Inner | None = None
    words: tuple[str, ...] = ("a",)
    times: tuple[datetime, ...] = ()
    middles: tuple[Middle, ...] = ()
    blob: bytes = b"\xff\x00"


@event(version=1)
class Single:
    only: str


def test_every_type_of_the_published_language_has_its_avro_type() -> None:
    fields = {field["name"]: field for field in shape(Everything).schema["fields"]}
    time = {"type": "long", "logicalType": "timestamp-micros"}
    assert [fields[name]["type"] for name in ("text", "raw", "number", "share", "flag", "at")] == [
        "string", "bytes", "long", "double", "boolean", time,
    ]  # fmt: skip
    assert fields["middle"]["type"]["name"] == "epicrisis.test_shape.Middle"
    assert fields["middle"]["type"]["fields"][0]["type"]["name"] == "epicrisis.test_shape.Inner"
    assert fields["inner"]["type"] == "epicrisis.test_shape.Inner"
    assert fields["maybe"] == {"name": "maybe", "type": ["null", "string"], "default": None}
    assert fields["times"]["type"] == {"type": "array", "items": time}
    assert fields["inner"]["default"] == {"word": "x", "when": None}
    assert fields["words"]["default"] == ["a"]
    assert fields["blob"]["default"] == "\u00ff\u0000"
    assert "default" not in fields["text"]


def written(body: Any) -> bytes:
    plan = shape(type(body))
    return plan.write(plan.leaves(body))


@given(objects(Everything))
def test_what_is_written_is_what_fastavro_writes_and_comes_back(body: Everything) -> None:
    plan, raw, again = shape(Everything), written(body), BytesIO()
    official = parse_schema(plan.schema)
    read: Any = schemaless_reader(BytesIO(raw), official, None)
    schemaless_writer(again, official, read)
    assert again.getvalue() == raw
    values, end = plan.read(raw, 0)
    assert plan.make(values) == body
    assert end == len(raw)


@given(st.integers())
def test_a_number_of_more_than_64_bits_is_an_error(number: int) -> None:
    out = BytesIO()
    if -(2**63) <= number < 2**63:
        schemaless_writer(out, "long", number)
        assert long(number) == out.getvalue()
    else:
        with pytest.raises(OverflowError):
            long(number)


@given(objects(Everything), st.data())
def test_bytes_cut_off_or_changed_are_an_error_or_another_body(body: Everything, data: st.DataObject) -> None:
    plan, raw = shape(Everything), bytearray(written(body))
    at = data.draw(st.integers(0, len(raw) - 1))
    with suppress(ValueError, IndexError, OverflowError):
        _, end = plan.read(bytes(raw[:at]), 0)
        assert end > at, "cut off, yet read to its end"
    raw[at] ^= data.draw(st.integers(1, 255))
    with suppress(ValueError, IndexError, OverflowError):
        values, _ = plan.read(bytes(raw), 0)
        assert plan.make(values) != body


def test_a_class_with_one_field_is_a_record_too() -> None:
    assert shape(Single).read(written(Single(only="x")), 0) == (["x"], 2)


@given(moments)
def test_times_are_exact_to_the_microsecond(at: datetime) -> None:
    assert moment(micros(at)) == at


def test_a_naive_time_is_an_error() -> None:
    with pytest.raises(TypeError):
        micros(datetime(2026, 1, 1))
    assert micros(datetime(1970, 1, 1, tzinfo=UTC)) == 0


@pytest.mark.parametrize("kind", [dict, list[str], tuple[str, int], str | int, Any, complex])
def test_a_type_outside_the_published_language_is_named(kind: Any) -> None:
    made = record(type("Odd", (), {"__annotations__": {"field": kind}, "__module__": __name__}))
    with pytest.raises(TypeError, match=r"Odd\.field.*cannot be published"):
        shape(made)


def test_a_class_without_fields_cannot_be_published() -> None:
    made = record(type("Empty", (), {"__module__": __name__}))
    with pytest.raises(TypeError, match="no fields"):
        shape(made)
