"""Splicing changes what it must, and no byte more."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.errors import Malformed
from epicrisis.fhir.references import references, splice
from epicrisis.fhir.splice import with_id, with_meta, with_version

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False)
names = st.text(max_size=6) | st.sampled_from(["reference", "display", "valueDecimal", "id", "meta"])
documents: st.SearchStrategy[Any] = st.dictionaries(
    names,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)
layouts = st.sampled_from([(",", ":"), (" , ", " : "), (",\n\t", ":\r\n")])


class _Number(float):
    """Prints a decimal as it is: 1.10 stays 1.10."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _write(doc: Any, layout: tuple[str, str], ascii_only: bool) -> bytes:
    def numbers(value: Any) -> Any:
        if isinstance(value, Decimal):
            return _Number(str(value))
        if isinstance(value, dict):
            return {k: numbers(v) for k, v in value.items()}
        return [numbers(v) for v in value] if isinstance(value, list) else value

    return json.dumps(numbers(doc), separators=layout, ensure_ascii=ascii_only).encode()


def _expected(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: f"new/{v}" if k == "reference" and isinstance(v, str) else _expected(v) for k, v in value.items()}
    return [_expected(v) for v in value] if isinstance(value, list) else value


def _read_apart(raw: bytes) -> Any:
    return json.loads(raw, parse_float=lambda t: ("number", t), parse_int=lambda t: ("number", t))


@given(documents, layouts, st.booleans())
def test_only_references_change(doc: Any, layout: tuple[str, str], ascii_only: bool) -> None:
    raw = _write(doc, layout, ascii_only)
    assert _read_apart(splice(raw, lambda value: f"new/{value}")) == _expected(_read_apart(raw))
    assert splice(raw, lambda value: value) == raw


@given(documents, layouts, st.booleans(), st.text(max_size=5))
def test_all_the_bytes_between_stay(doc: Any, layout: tuple[str, str], ascii_only: bool, new: str) -> None:
    raw = _write(doc, layout, ascii_only)
    spliced = splice(raw, lambda _: new)
    assert splice(spliced, lambda _: "") == splice(raw, lambda _: "")


@given(documents, layouts, st.booleans())
def test_id_and_meta_are_set_and_the_rest_stays(doc: Any, layout: tuple[str, str], ascii_only: bool) -> None:
    doc = {"resourceType": "Patient", **doc}
    if not isinstance(doc.get("meta", {}), dict):
        doc["meta"] = {"versionId": "0", "profile": ["a"]}
    raw = _write(doc, layout, ascii_only)
    spliced = with_meta(with_id(raw, "new"), "7", "2024-01-01T00:00:00Z")
    assert with_version(raw, "new", "7", "2024-01-01T00:00:00Z") == spliced
    before, after = _read_apart(raw), _read_apart(spliced)
    meta = {**before.get("meta", {}), "versionId": "7", "lastUpdated": "2024-01-01T00:00:00Z"}
    assert after == {**before, "id": "new", "meta": meta}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"subject": {"reference" : "a"}, "value":1.10}', b'{"subject": {"reference" : "X"}, "value":1.10}'),
        (b'{"a":{"reference":"x\\/y"}}', b'{"a":{"reference":"X"}}'),
        (b'{"a":{"ref\\u0065rence":"y"}}', b'{"a":{"ref\\u0065rence":"X"}}'),
        (b'{"a":"\\"reference\\": \\"b\\""}', b'{"a":"\\"reference\\": \\"b\\""}'),
        (b'{"a\\"reference":"b"}', b'{"a\\"reference":"b"}'),
        (b'{"a":"reference","b":"c"}', b'{"a":"reference","b":"c"}'),
        (b'{"a":{"reference":{"reference":"b"}}}', b'{"a":{"reference":{"reference":"X"}}}'),
        (b'{"resourceType":"DetectedIssue","reference":"http://a"}',) * 2,
        (b'{"x":{"language":"text/cql","expression":"e","reference":"http://a"}}',) * 2,
        (b'{"education":[{"reference":"http://a"}]}',) * 2,
        (
            b'{"resourceType":"DetectedIssue","reference":"http://a","patient":{"reference":"b"}}',
            b'{"resourceType":"DetectedIssue","reference":"http://a","patient":{"reference":"X"}}',
        ),
    ],
)
def test_places_that_are_and_are_not_references(raw: bytes, expected: bytes) -> None:
    assert splice(raw, lambda _: "X") == expected


def test_references_come_in_order_with_repeats() -> None:
    raw = b'{"a":{"reference":"x\\/y"},"b":[{"reference":"b"},{"reference":"x/y"}],"c":{"reference":"\xc3\xa4"}}'
    assert references(raw) == ["x/y", "b", "x/y", "ä"]


def test_a_new_value_is_written_as_json() -> None:
    assert splice(b'{"a":{"reference":"x"}}', lambda _: 'ü"\\') == '{"a":{"reference":"ü\\"\\\\"}}'.encode()


def test_id_goes_behind_the_type_where_there_is_none() -> None:
    assert with_id(b'{ "active": true, "resourceType" : "Patient" }', "n") == (
        b'{ "active": true, "resourceType" : "Patient","id":"n" }'
    )
    assert with_id(b'{"resourceType":"Patient","contained":[{"id":"inner"}]}', "n") == (
        b'{"resourceType":"Patient","id":"n","contained":[{"id":"inner"}]}'
    )


def test_meta_goes_behind_the_id_and_keeps_what_it_has() -> None:
    meta = b'"meta":{"versionId":"1","lastUpdated":"2024Z"}'
    assert with_meta(b'{"resourceType":"A","id":"i","x":1.10}', "1", "2024Z") == (
        b'{"resourceType":"A","id":"i",' + meta + b',"x":1.10}'
    )
    assert with_meta(b'{"resourceType":"A","id":"i","meta": {"tag":[{}],"versionId": "0"}}', "1", "2024Z") == (
        b'{"resourceType":"A","id":"i","meta": {"lastUpdated":"2024Z","tag":[{}],"versionId": "1"}}'
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resourceType":"A","id":"i","x":1.10}',
        b'{"resourceType":"A","id":"i"}',
        b'{"resourceType": "A", "id" : "i", "meta" : { } , "x":1.10}',
        b'{"resourceType":"A","id":"i","contained":[{"meta":{"tag":[]}}]}',
        b'{"resourceType":"A","id":"i","contained":[{"meta":{}}],"meta":{"tag":[{}]}}',
        b'{"resourceType":"A","id":"i","contained":[{"meta":{}}],"m\\u0065ta":{}}',
        b'{"resourceType":"A","id":"i","text":"\\"meta\\":{}","meta":{"versionId": "0"}}',
        b'{"meta":{},"resourceType":"A","id":"i"}',
    ],
)
def test_id_and_meta_in_one_go_are_the_same_as_one_after_the_other(raw: bytes) -> None:
    assert with_version(raw, "n", "7", "2024Z") == with_meta(with_id(raw, "n"), "7", "2024Z")


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"a":1,"a":22}', b'{"a":'])
def test_what_is_no_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        with_id(raw, "n")
