from __future__ import annotations

import io
import random
from datetime import timedelta, timezone
from typing import Any
from uuid import UUID

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from epicrisis.codec import (
    MAX_BATCH,
    MAX_RECORD,
    MAX_VALUE,
    Catalogue,
    Codec,
    Dictionaries,
    Sealed,
    headers,
    written_headers,
)
from epicrisis.codec.dictionaries import MAX_BODY
from epicrisis.codec.layout import VERBATIM
from epicrisis.codec.sealing import OVERHEAD, body_context, seal
from epicrisis.errors import Poison, Refused, SealBroken, UnknownSchema
from epicrisis.event import event_type, event_version, replace
from epicrisis.producing import Records
from schemas.chart import ResourceRecorded
from schemas.common import Coding
from schemas.referral import ReferralAccepted
from tests.unit.codec.events import NOW, SUBJECT, codec, data_key, meta_of, objects

CLASSES = [kind.cls for kind in Catalogue.load().kinds.values()]
CODEC = codec()
KEY = data_key()
RECORDED = ResourceRecorded(
    resource_type="Observation",
    resource_id="a1",
    status="final",
    category=Coding(system="s", code="laboratory"),
    code=Coding(system="http://loinc.org", code="718-7", display="Hämoglobin"),
    date="2026-03",
    encounter_id="",
    resource=b'{"resourceType":"Observation","valueQuantity":{"value":1.10}}',
)
ACCEPTED = ReferralAccepted(referral_id="r", from_clinic="a/b", to_clinic="c/d")


def sealed_by(frame: bytes, body: object = RECORDED) -> Sealed:
    """An event whose body is this frame, sealed as ours are."""
    meta = meta_of(body, key=KEY.id)
    return Sealed(meta, seal(frame, KEY, meta.id.bytes + meta.subject.bytes + body_context(meta.version, meta.type)))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__event_type__)
def test_every_event_comes_back_as_it_went_in(cls: type) -> None:
    @settings(max_examples=25)
    @given(objects(cls))
    def check(body: object) -> None:
        meta = meta_of(body)
        sealed = CODEC.open(CODEC.encode(meta, body, KEY))
        back = CODEC.unseal(sealed, KEY)
        assert back == body
        assert type(back) is cls
        assert CODEC.resource(sealed, KEY) == getattr(body, "resource", b"")
        assert sealed.meta == msgspec.structs.replace(meta, key=KEY.id)

    check()


def test_an_event_that_came_back_is_a_whole_object() -> None:
    back = CODEC.unseal(CODEC.open(CODEC.encode(meta_of(RECORDED), RECORDED, KEY)), KEY)
    assert replace(back, status="amended").code == RECORDED.code
    assert hash(back) == hash(RECORDED)
    assert repr(back) == repr(RECORDED)
    with pytest.raises(AttributeError):
        back.status = "other"


def test_the_same_event_sealed_twice_is_not_the_same_bytes() -> None:
    first, second = (CODEC.open(CODEC.encode(meta_of(RECORDED), RECORDED, KEY)).body for _ in range(2))
    assert first[:12] != second[:12]
    assert first[12:] != second[12:]


@pytest.mark.parametrize("body", [RECORDED, ACCEPTED], ids=["with a resource", "facts only"])
def test_no_changed_byte_goes_unnoticed_where_the_seal_reaches(body: object) -> None:
    """Id, subject, version, type and body are sealed. The rest of the envelope is what the ledger's chain is for."""
    value = CODEC.encode(meta_of(body), body, KEY)
    original = CODEC.open(value)
    for at in range(len(value)):
        for flip in (0x01, 0x80, 0xFF):
            changed = value[:at] + bytes([value[at] ^ flip]) + value[at + 1 :]
            try:
                opened = CODEC.open(changed)
                CODEC.unseal(opened, KEY)
            except Poison:
                continue
            assert opened.body == original.body
            assert opened.meta != original.meta
            for sealed_field in ("id", "subject", "type", "version"):
                assert getattr(opened.meta, sealed_field) == getattr(original.meta, sealed_field)


def test_no_cut_or_lengthened_value_goes_unnoticed() -> None:
    value = CODEC.encode(meta_of(RECORDED), RECORDED, KEY)
    for end in range(len(value)):
        with pytest.raises(Poison):
            CODEC.open(value[:end])
    with pytest.raises(Poison, match="not all of the value"):
        CODEC.open(value + b"\x00")


@given(st.binary(max_size=300))
def test_garbage_is_poison(value: bytes) -> None:
    with pytest.raises(Poison):
        CODEC.open(value)


@given(st.binary(max_size=300))
def test_garbage_behind_our_framing_is_poison(tail: bytes) -> None:
    value = b"\x00" + CODEC.catalogue.envelope.id.to_bytes(4, "big") + tail
    with pytest.raises(Poison):
        CODEC.unseal(CODEC.open(value), KEY)


def test_another_schema_id_is_an_unknown_schema() -> None:
    value = CODEC.encode(meta_of(RECORDED), RECORDED, KEY)
    with pytest.raises(UnknownSchema, match="schema id 1 "):
        CODEC.open(b"\x00\x00\x00\x00\x01" + value[5:])


def test_the_wrong_key_opens_nothing() -> None:
    sealed = CODEC.open(CODEC.encode(meta_of(RECORDED), RECORDED, KEY))
    for read in (CODEC.unseal, CODEC.resource):
        with pytest.raises(SealBroken):
            read(sealed, data_key())


def test_an_indented_resource_is_read_with_its_indentation_or_without() -> None:
    text = b'{"id":"a1","resourceType":"Observation","subject":"%s","n":1.10}' % str(SUBJECT).encode()
    body = replace(RECORDED, resource=msgspec.json.format(text, indent=2))
    sealed = CODEC.open(CODEC.encode(meta_of(body), body, KEY))
    assert CODEC.resource(sealed, KEY) == body.resource
    assert CODEC.resource(sealed, KEY, indented=False) == CODEC.unseal(sealed, KEY, indented=False).resource == text


@pytest.mark.parametrize(
    "other",
    [
        {"id": UUID(int=5)},
        {"subject": UUID(int=5)},
        {"type": "chart.ResourceAmended"},
    ],
    ids=["event", "subject", "type"],
)
def test_a_body_moved_to_another_envelope_does_not_open(other: dict[str, object]) -> None:
    sealed = CODEC.open(CODEC.encode(meta_of(RECORDED), RECORDED, KEY))
    with pytest.raises(SealBroken):
        CODEC.unseal(Sealed(msgspec.structs.replace(sealed.meta, **other), sealed.body), KEY)


@pytest.mark.parametrize("cls", [c for c in CLASSES if event_version(c) > 1], ids=event_type)
def test_a_body_of_any_older_release_is_read_as_the_newest(cls: type) -> None:
    kind = CODEC.catalogue.kinds[event_type(cls)]

    @settings(max_examples=10)
    @given(objects(cls))
    def check(body: Any) -> None:
        plain = msgspec.to_builtins(body, builtin_types=(bytes,))
        for version in range(1, kind.newest):
            avro, meta = io.BytesIO(), meta_of(body, key=KEY.id, version=version)
            fastavro.schemaless_writer(avro, kind.releases[version].compiled, plain)
            frame = bytes([VERBATIM]) + CODEC.dictionaries.compress(avro.getvalue())
            context = meta.id.bytes + meta.subject.bytes + body_context(version, meta.type)
            sealed = Sealed(meta, seal(frame, KEY, context))
            read = CODEC.unseal(sealed, KEY)
            assert CODEC.resource(sealed, KEY) == getattr(read, "resource", b"")
            again = msgspec.to_builtins(read, builtin_types=(bytes,))
            assert type(read) is cls
            assert _without(again, "local") == _without(plain, "local")

    check()


def _without(plain: Any, name: str) -> Any:
    """Data without what a later release added."""
    if isinstance(plain, dict):
        return {key: _without(value, name) for key, value in plain.items() if key != name}
    return [_without(value, name) for value in plain] if isinstance(plain, list | tuple) else plain


def test_an_unknown_type_or_version_is_an_unknown_schema_and_is_not_quoted() -> None:
    for other in ({"type": "chart.NeverHeardOf"}, {"version": 99}, {"type": "Müller, Anna\x1b[2J"}):
        with pytest.raises(UnknownSchema) as caught:
            CODEC.encode(meta_of(RECORDED, **other), RECORDED, KEY)
        assert "Müller" not in str(caught.value)
        with pytest.raises(UnknownSchema):
            CODEC.unseal(Sealed(meta_of(RECORDED, **other), b""), KEY)


def test_bytes_behind_a_body_are_poison() -> None:
    plain = CODEC.dictionaries.decompress(_frame(RECORDED)[1:])
    with pytest.raises(Poison, match="bytes follow"):
        CODEC.unseal(sealed_by(b"\x00" + CODEC.dictionaries.compress(plain + b"x")), KEY)


def test_a_body_that_does_not_follow_its_schema_is_poison() -> None:
    for plain in (b"", b"\x01", b"\xff" * 40):
        for read in (CODEC.unseal, CODEC.resource):
            with pytest.raises(Poison, match="report this release"):
                read(sealed_by(b"\x00" + CODEC.dictionaries.compress(plain)), KEY)


def test_a_sealed_body_that_is_no_frame_is_poison() -> None:
    with pytest.raises(Poison, match="zstd"):
        CODEC.unseal(sealed_by(b"no frame at all"), KEY)


def test_a_body_over_the_limit_is_refused() -> None:
    body = replace(RECORDED, resource=b" " * MAX_BODY)
    with pytest.raises(Refused, match="send it in parts"):
        CODEC.encode(meta_of(body), body, KEY)


def test_a_body_just_below_the_limit_comes_back() -> None:
    body = replace(RECORDED, resource=bytes(range(256)) * (MAX_BODY // 256 - 1))
    assert CODEC.unseal(CODEC.open(CODEC.encode(meta_of(body), body, KEY)), KEY) == body


def test_whatever_the_codec_writes_can_be_sent() -> None:
    noise = random.Random(5).randbytes(MAX_BODY - 4096)  # nothing can compress it
    body = replace(RECORDED, resource=noise)
    value = CODEC.encode(meta_of(body), body, KEY)
    assert MAX_BODY - 4096 < len(value) <= MAX_VALUE
    with pytest.raises(Refused, match="send it in parts"):
        CODEC.encode(meta_of(body, stream="x" * (MAX_VALUE - MAX_BODY + 4096)), body, KEY)
    around = headers(meta_of(body))
    largest = DefaultRecordBatchBuilder.estimate_size_in_bytes(SUBJECT.bytes, bytes(MAX_VALUE), around)
    assert largest < MAX_RECORD < MAX_BATCH


def test_bodies_written_with_and_without_dictionaries_are_read_alike() -> None:
    without = Codec(CODEC.catalogue, Dictionaries())
    value = without.encode(meta_of(RECORDED), RECORDED, KEY)
    assert CODEC.unseal(CODEC.open(value), KEY) == RECORDED


def test_the_envelope_names_the_key_and_costs_little() -> None:
    value = CODEC.encode(meta_of(ACCEPTED), ACCEPTED, KEY)
    assert CODEC.open(value).meta.key == KEY.id
    assert len(value) < 300


def test_headers_are_cloudevents_and_hold_nothing_else() -> None:
    meta = meta_of(RECORDED)
    assert headers(meta) == [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(meta.id).encode()),
        ("ce_type", b"chart.ResourceRecorded"),
        ("ce_source", b"chart"),
        ("ce_time", b"2026-03-01T12:30:00.123456Z"),
        ("content-type", b"application/avro"),
    ]


def test_the_headers_of_a_journal_row_are_those_of_its_event() -> None:
    meta = meta_of(RECORDED)
    around = written_headers(meta.id, meta.type, meta.source, NOW.astimezone(timezone(timedelta(hours=9))))
    batch = Records(0, 1024)
    batch.append(0, b"key", b"value", around)
    batch.close()
    (read,) = MemoryRecords(batch.buffer()).next_batch()
    assert read.headers == headers(meta)


def _frame(body: object) -> bytes:
    sealed = CODEC.open(CODEC.encode(meta_of(body), body, KEY))
    context = meta_of(body).id.bytes + SUBJECT.bytes + body_context(sealed.meta.version, sealed.meta.type)
    assert len(sealed.body) > OVERHEAD
    return KEY.aead.decrypt(sealed.body[:12], sealed.body[12:], context)
