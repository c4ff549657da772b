"""The hand-written envelope against fastavro and the released schema."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.codec import Catalogue
from epicrisis.codec.catalogue import Release
from epicrisis.codec.envelope import MAX_VALUE, Envelopes
from epicrisis.errors import CatalogueError, Poison
from epicrisis.event import Meta
from epicrisis.event import replace as changed
from schemas.referral import ReferralAccepted
from tests.unit.codec.events import SUBJECT, meta_of, metas

SCHEMA = Catalogue.load().envelope
OFFICIAL = parse_schema(SCHEMA.schema)  # with its logical types, as others will read it
ENVELOPES = Envelopes(SCHEMA)
FIELDS = Meta.__struct_fields__
KEYED = ReferralAccepted(referral_id="r", from_clinic="a/b", to_clinic="c/d")


def as_avro(meta: Meta, body: bytes) -> dict[str, Any]:
    """What fastavro takes and gives: it knows the logical types of times, but not of UUIDs in 16 bytes."""
    plain = {name: getattr(meta, name) for name in FIELDS} | {"body": body}
    return {name: value.bytes if isinstance(value, UUID) else value for name, value in plain.items()}


def written(meta: Meta, body: bytes) -> bytes:
    assert meta.key is not None
    return ENVELOPES.write(meta, meta.id.bytes, meta.subject.bytes, meta.key.bytes, body)


@given(metas, st.binary(max_size=200))
def test_fastavro_reads_what_we_write(meta: Meta, body: bytes) -> None:
    value = written(meta, body)
    assert value[0] == 0
    assert int.from_bytes(value[1:5], "big") == SCHEMA.id
    source = BytesIO(value[5:])
    record: Any = schemaless_reader(source, OFFICIAL, None)
    assert source.read() == b""
    assert record == as_avro(meta, body)


@given(metas, st.binary(max_size=200))
def test_we_read_what_fastavro_writes(meta: Meta, body: bytes) -> None:
    out = BytesIO()
    schemaless_writer(out, OFFICIAL, as_avro(meta, body))
    value = b"\x00" + SCHEMA.id.to_bytes(4, "big") + out.getvalue()
    assert value == written(meta, body)
    assert ENVELOPES.read(value) == (meta, body)
    assert ENVELOPES.read(value) == (meta, body)  # now from the memos


@given(metas, st.binary(max_size=40), st.data())
def test_the_place_of_a_value_is_what_its_whole_envelope_says(meta: Meta, body: bytes, data: st.DataObject) -> None:
    value = written(meta, body)
    place = meta.subject.bytes, meta.source, meta.seq
    assert ENVELOPES.place(value) == place
    cut = value[: data.draw(st.integers(0, len(value) - 1))]
    try:
        assert ENVELOPES.place(cut) == place
    except Poison:
        return
    with pytest.raises(Poison):
        ENVELOPES.read(cut)


@given(metas, st.binary(max_size=40), st.data())
def test_every_value_has_one_form_and_no_other(meta: Meta, body: bytes, data: st.DataObject) -> None:
    value = bytearray(written(meta, body))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(5, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        again, rest = ENVELOPES.read(bytes(value))
    except Poison:
        return
    if again.key is not None:
        assert written(again, rest) == bytes(value)


@given(st.lists(metas, min_size=1, max_size=3), st.data())
def test_what_was_read_before_changes_nothing(some: list[Meta], data: st.DataObject) -> None:
    for meta in some:
        meta = changed(meta, key=meta.key or meta.id)
        same = data.draw(st.sets(st.sampled_from(["type", "clinic", "subject", "recorded", "message", "key"])))
        for one in (meta, changed(meta, **{name: getattr(some[0], name) for name in same if getattr(some[0], name)})):
            assert ENVELOPES.read(written(one, b"body")) == (one, b"body")


@pytest.mark.parametrize(
    "length",
    [
        b"\x80\x00",
        b"\x81\x80\x00",
        b"\xff" * 9 + b"\x01",
        b"\xff" * 30,
        b"\x01",
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f",
    ],
    ids=["not minimal", "longer still", "the largest negative", "endless", "negative", "beyond the input"],
)
def test_lengths_that_nobody_writes_are_poison(length: bytes) -> None:
    framed = b"\x00" + SCHEMA.id.to_bytes(4, "big") + bytes(16) + length
    with pytest.raises(Poison):
        ENVELOPES.read(framed + b"chart.ResourceRecorded" * 20)


def test_text_that_is_not_utf8_is_poison() -> None:
    with pytest.raises(Poison, match="UTF-8"):
        ENVELOPES.read(b"\x00" + SCHEMA.id.to_bytes(4, "big") + bytes(16) + b"\x04\xff\xfe" + b"\x02" * 60)


def test_a_time_beyond_the_calendar_is_poison() -> None:
    out = BytesIO()
    schemaless_writer(out, OFFICIAL, as_avro(meta_of(KEYED, key=UUID(int=3)), b"") | {"effective": 2**62})
    with pytest.raises(Poison, match="calendar"):
        ENVELOPES.read(b"\x00" + SCHEMA.id.to_bytes(4, "big") + out.getvalue())


def test_a_value_over_the_limit_is_poison() -> None:
    with pytest.raises(Poison, match="more than any event"):
        ENVELOPES.read(b"\x00" + SCHEMA.id.to_bytes(4, "big") + bytes(MAX_VALUE))


def test_another_envelope_schema_is_noticed_at_once() -> None:
    with pytest.raises(CatalogueError, match="change both"):
        Envelopes(replace(SCHEMA, id=SCHEMA.id + 1))
    assert isinstance(SCHEMA, Release)


def test_the_memos_are_bounded() -> None:
    value = written(meta_of(KEYED, key=UUID(int=3)), b"")
    envelopes = Envelopes(SCHEMA)
    for n in range(20_000):
        envelopes.read(value.replace(SUBJECT.bytes, n.to_bytes(16, "big")))
    assert len(envelopes._uuids) <= 8192


def test_a_long_head_is_read_as_a_short_one_is() -> None:
    for length in (1, 63, 64, 200, 600):
        meta = meta_of(KEYED, key=UUID(int=3), type="t" * length, operator="ü" * length, version=length * 1000)
        assert ENVELOPES.read(written(meta, b"x")) == (meta, b"x")
        assert ENVELOPES.read(written(meta, b"x")) == (meta, b"x")
