"""The gate against anything at all: it passes or it refuses, soon, and never falls over."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.problems import problems
from epicrisis.fhir.spec import resource_types

GATE = Gate()
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ["id", "meta", "extension", "contained", "identifier", "status", "code", "subject", "entry", "_status", "text"]


def survives(raw: bytes) -> None:
    try:
        GATE.check(raw)
    except Malformed as refusal:
        passed, said = False, refusal.message
    else:
        passed, said = True, "nothing"
    assert said
    assert (problems(raw) == []) is passed


@given(st.binary(max_size=200))
def test_bytes_never_crash_the_gate(raw: bytes) -> None:
    survives(raw)


@given(st.sampled_from(resource_types()), st.dictionaries(st.sampled_from(NAMES) | st.text(), values, max_size=5))
@settings(max_examples=200, deadline=None)
def test_any_json_in_a_resource_never_crashes_the_gate(name: str, members: dict[str, Any]) -> None:
    survives(json.dumps({"resourceType": name, **members}).encode("utf-8", "surrogatepass"))


@given(st.sampled_from([b"{", b"[", b'"', b"\\", b"}", b"\xff", b"\x00", b"null"]), st.integers(0, 130))
def test_a_resource_with_a_hole_never_crashes_the_gate(piece: bytes, at: int) -> None:
    raw = b'{"resourceType":"Patient","id":"a","contained":[{"resourceType":"Basic","id":"b"}],"_active":{"id":"c"}}'
    survives(raw[:at] + piece + raw[at:])
    survives(raw[:at] + piece + raw[at + len(piece) :])


def _bombs() -> Iterator[tuple[str, bytes]]:
    many = 100_000
    patient = b'{"resourceType":"Patient","%s":%s}'
    for name, opening, closing in (
        ("arrays", b"[", b"]"),
        ("objects", b'{"a":', b"}"),
        ("extensions", b'{"url":"a","extension":[', b"]}"),
        ("contained", b'{"resourceType":"Patient","contained":[', b"]}"),
        ("bundles", b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":', b"}]}"),
        ("parameters", b'{"resourceType":"Parameters","parameter":[{"name":"a","resource":', b"}]}"),
        ("parts", b'{"name":"a","part":[', b"]}"),
        ("hidden in strings", b'{"a]}]}":[', b"]}"),
    ):
        deep = opening * many + b"1" + closing * many
        yield name, deep
        yield name + " open", opening * many
        yield name + " in contained", patient % (b"contained", b"[" + deep + b"]")
        yield name + " in extension", patient % (b"extension", b"[" + deep + b"]")
        yield name + " in a sibling", patient % (b"_active", deep)
        yield (
            name + " in a Bundle",
            b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":' + deep + b"}]}",
        )
        yield name + ", few", opening * 90 + b"1" + closing * 90


@pytest.mark.parametrize(("name", "raw"), [pytest.param(n, r, id=n) for n, r in _bombs()])
def test_depth_is_refused_and_never_a_recursion_error(name: str, raw: bytes) -> None:
    with pytest.raises(Malformed):
        Gate().check(raw[:16_000_000])
    assert problems(raw[:16_000_000])


def _one_megabyte() -> Iterator[tuple[str, bytes]]:
    size = 1_000_000
    text = b'{"resourceType":"Patient","%s":%s}'
    yield "zeros", bytes(size)
    yield "spaces", b" " * size
    yield "unknown object", text % (b"bogus", b"{" + b'"a":1,' * (size // 6) + b'"b":1}')
    yield "late error", text % (b"name", b"[" + b'{"family":"x"},' * (size // 15) + b'{"family":1}]')
    yield "late duplicate", text % (b"name", b"[" + b'{"family":"x"},' * (size // 16) + b'{"family":"a","family":"b"}]')
    yield "long reference", text % (b"managingOrganization", b'{"reference":"' + b"/Patient/a" * (size // 11) + b'"}')
    yield "long uri", text % (b"implicitRules", b'"' + b"a" * (size - 99) + b' "')
    yield "long code", text % (b"language", b'"' + b"a " * (size // 2 - 99) + b' "')
    yield "backslashes", text % (b"language", b'"' + b"\\\\" * (size // 2) + b' "')
    div = b'<div xmlns=\\"http://www.w3.org/1999/xhtml\\">' + b"<b>" * (size // 4) + b"</div>"
    yield "deep narrative", text % (b"text", b'{"status":"generated","div":"' + div + b'"}')
    div = b'<div xmlns=\\"http://www.w3.org/1999/xhtml\\">' + b"<b>x</b>" * (size // 9) + b"<script/></div>"
    yield "long narrative", text % (b"text", b'{"status":"generated","div":"' + div + b'"}')
    yield "local references", text % (b"link", b"[" + b'{"reference":"#a"},' * (size // 20) + b"1]")


@pytest.mark.parametrize(("name", "raw"), [pytest.param(n, r, id=n) for n, r in _one_megabyte()])
def test_a_megabyte_of_anything_is_refused_soon(name: str, raw: bytes) -> None:
    gate = Gate()
    best = 1.0
    for _ in range(3):
        start = time.process_time()
        with pytest.raises(Malformed):
            gate.check(raw)
        best = min(best, time.process_time() - start)
    print(f"{name}: {best * 1e3:.1f} ms")
    assert best < 0.15, "p99 is to be 50 ms on a machine of its own; this bound leaves room for a busy one"
