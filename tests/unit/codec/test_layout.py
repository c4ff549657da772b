"""Layout: whatever is packed comes back byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.codec.layout import COMPACT, VERBATIM, pack, unpack
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.read import open_documents

KNOWN = (b"6f0a2f6e-6a3f-5c57-9b8e-3d2f0c1a7e11", b"0b9a4c0e-52d4-5a55-8f0c-9d6b1f6a2c22")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES, min_size=1), st.sampled_from([None, 1, 2, 3, 4, 8]), st.integers(0, 200))
def test_json_of_any_layout_comes_back_byte_for_byte(value: object, indent: int | None, base: int) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", "\n" + " " * base)
    raw = text.encode()
    assert unpack(*pack(raw, KNOWN), KNOWN) == raw


@given(st.binary())
def test_any_bytes_come_back(raw: bytes) -> None:
    for one in (raw, b"{\n" + raw, raw + KNOWN[0] + raw + KNOWN[1]):
        assert unpack(*pack(one, KNOWN), KNOWN) == one


def test_what_the_envelope_says_is_not_kept_again() -> None:
    raw = b'{"subject":"Patient/%s","id":"%s"}' % KNOWN
    kept, layout = pack(raw, KNOWN)
    assert (kept, layout) == (b'{"subject":"Patient/\x00","id":"\x01"}', COMPACT)
    assert pack(raw + b"\x00", KNOWN) == (raw + b"\x00", VERBATIM)


@pytest.mark.parametrize("unit", [2, 4])
@pytest.mark.parametrize("base", [0, 6, 8])
def test_an_indented_resource_is_kept_compact(unit: int, base: int) -> None:
    raw = b'{\n  "value": 1.10,\n  "list": [\n    1e5\n  ]\n}'.replace(b"  ", b" " * unit)
    raw = raw.replace(b"\n", b"\n" + b" " * base)
    kept, layout = pack(raw, KNOWN)
    assert kept == b'{"value":1.10,"list":[1e5]}'
    assert layout != COMPACT


def test_real_bundles_are_kept_compact(shared_data: Path) -> None:
    path = min((shared_data / "synthea-2019-r4" / "general").glob("*.gz"), key=lambda p: p.stat().st_size)
    [document] = open_documents(path)
    raws = [entry.raw for entry in Gate().check(document.raw).entries if entry.raw]
    packed = [pack(raw, KNOWN) for raw in raws]
    assert [unpack(*one, KNOWN) for one in packed] == raws
    assert all(layout != COMPACT for _, layout in packed)
