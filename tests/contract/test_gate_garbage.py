"""The gate against anything at all: it passes or it refuses, soon, and never falls over."""

import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.adversarial import inputs
from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.problems import MAX_PROBLEMS, problems
from epicrisis.fhir.spec import resource_types

GATE = Gate()
SIZE, MEMORY = 100_000, 60
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


@pytest.mark.parametrize(("name", "raw"), [pytest.param(n, r, id=n) for n, r in inputs(SIZE)])
def test_costly_inputs_are_refused_soon_and_in_little_memory(name: str, raw: bytes) -> None:
    """What grows faster than its input would need hours here; figures for a megabyte: `make bench BENCH=gate`."""
    gate = Gate()
    start = time.process_time()
    with pytest.raises(Malformed):
        gate.check(raw)
    assert time.process_time() - start < 2
    gate = Gate()
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            gate.check(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"{name}: {peak / len(raw):.1f} times its bytes")
    assert peak < MEMORY * SIZE


def test_all_that_is_wrong_with_costly_inputs_is_found_soon() -> None:
    """Of 16 MB too: what is looked at has an end."""
    for name, raw in inputs(SIZE):
        assert 0 < len(problems(raw)) <= MAX_PROBLEMS + 2, name
    start = time.process_time()
    large = dict(inputs(16_000_000))["bundle dup"]
    assert problems(large)
    assert time.process_time() - start < 30
