"""Reading over HTTP, without a server: what a search asks for, further pages, bytes, versions, waiting, metadata."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.doors.fhir_http import bundles
from epicrisis.doors.fhir_http.answers import Told
from epicrisis.doors.fhir_http.app import Interaction
from epicrisis.doors.fhir_http.capability import statement
from epicrisis.doors.fhir_http.chart import Row
from epicrisis.doors.fhir_http.names import Names
from epicrisis.doors.fhir_http.pages import Page, Pages
from epicrisis.doors.fhir_http.query import MOST, Identified, Named, Search, Sort, accepted, search_of
from epicrisis.doors.fhir_http.reading import version_of
from epicrisis.doors.fhir_http.written import Written
from epicrisis.fhir.search import ANY, parameters, token
from epicrisis.fhir.spec import resource_types
from epicrisis.intake.identity import Digests, resource_id
from epicrisis.intake.receipt import Outcome

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def asked(query: str, kind: str = "Observation", *, strict: bool = False) -> Search:
    pairs = [pair.partition("=") for pair in query.split("&")]
    return search_of(kind, [(name, value) for name, _, value in pairs], strict=strict)


def refused(query: str, kind: str = "Observation", *, strict: bool = False) -> str:
    with pytest.raises(Told) as told:
        asked(query, kind, strict=strict)
    assert told.value.answer.status == 400
    return str(json.loads(told.value.answer.body)["issue"][0]["code"])


# What a search asks for


def test_a_code_is_looked_for_with_its_system_without_one_and_in_any() -> None:
    found = asked("code=http://loinc.org|29463-7,|local,8302-2").tokens
    assert found == [
        (token("code", "http://loinc.org", "29463-7"), token("code", "", "local"), token("code", ANY, "8302-2"))
    ]


def test_a_plain_code_has_no_system_whatever_the_client_says() -> None:
    assert asked("status=http://hl7.org/fhir/observation-status|final").tokens == asked("status=final").tokens


def test_what_was_left_out_is_not_among_what_was_used() -> None:
    """https://hl7.org/fhir/R4/search.html#conformance: the server returns the parameters that it actually used."""
    found = asked("code=a&banana=1&_sort=date,-_id&_include=Patient:link&status=&_count=5&_summary=text")
    assert found.used == [("code", "a"), ("_sort", "date"), ("_count", "5")]


def test_commas_separate_unless_they_are_escaped() -> None:
    assert asked(r"code=a\,b,c\|d").tokens == [(token("code", ANY, "a,b"), token("code", ANY, "c|d"))]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("patient=p1", Named(("Patient",), "p1")),
        ("subject=Patient/p1", Named(("Patient",), "p1")),
        ("subject:Patient=p1", Named(("Patient",), "p1")),
        ("patient=http://127.0.0.1:8080/fhir/Patient/p1", Named(("Patient",), "p1")),
        ("patient.identifier=urn:n|7", Identified("Patient", "urn:n", "7")),
        ("patient:identifier=urn:n|7", Identified("Patient", "urn:n", "7")),
    ],
)
def test_a_patient_is_named_in_every_way_that_clients_use(query: str, named: object) -> None:
    assert asked(query).patients == [(named,)]


def test_several_parameters_must_all_hold_and_of_a_parameters_values_any() -> None:
    found = asked("date=ge2026-01&date=lt2026-02-01&category=a,b&_lastUpdated=gt2026")
    assert [[when.prefix for when in one] for one in found.dates] == [["ge"], ["lt"]]
    assert len(found.tokens[0]) == 2
    assert found.updated[0][0].begin == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "sort"),
    [
        ("_sort=-date", Sort("date", True)),
        ("_sort=_lastUpdated", Sort("updated")),
        ("_sort=-_id", Sort("id", True)),
        ("_sort=code", Sort()),
    ],
)
def test_answers_are_sorted_by_date_change_or_id(query: str, sort: Sort) -> None:
    assert asked(query).sort == sort


def test_a_page_has_at_most_a_thousand() -> None:
    assert asked("_count=99999").count == MOST
    assert asked("_count=0").only_total
    assert refused("_count=many") == "value"


@pytest.mark.parametrize("query", ["banana=1", "_sort=value", "_include=Observation:value", "_summary=text", "_has=x"])
def test_what_is_not_known_is_a_warning_or_refused_as_the_client_prefers(query: str) -> None:
    (problem,) = asked(query).problems
    assert problem.severity == "warning"
    assert refused(query, strict=True) == "not-supported"


@pytest.mark.parametrize(
    "query", ["code:text=x", "status:not=final", "date:missing=true", "patient:Group=1", "patient.name=x", "code=a|"]
)
def test_a_modifier_that_is_not_supported_is_always_refused(query: str) -> None:
    assert refused(query) == "not-supported"


@pytest.mark.parametrize(
    "query", ["date=10.10.2026", "date=2026-13", "_id=a b", "patient=a/b/c/d", "_lastUpdated=ge", "encounter=?"]
)
def test_a_value_that_cannot_be_read_is_always_refused(query: str) -> None:
    assert refused(query) == "value"


def test_an_identifier_needs_its_system() -> None:
    assert refused("identifier=123", "Patient") == "value"
    assert asked("identifier=urn:n|1|2", "Patient").ids == [(Identified("Patient", "urn:n", "1|2"),)]


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted({*accepted("Observation"), "_sort", "_count", "_include", "x"})), st.text())
    )
)
def test_any_parameters_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    for kind in ("Observation", "Patient"):
        with suppress(Told):
            search_of(kind, pairs)


# Further pages


def test_only_its_own_clinic_can_go_on_with_a_page() -> None:
    pages, page = Pages(b"k" * 32), Page("search", "Patient", [("name", "Wolkenstein")], ["x", "y"])
    sealed = pages.seal(page, "charite/gyn")
    assert "Wolkenstein" not in sealed
    assert pages.open(sealed, "charite/gyn") == page
    for text, clinic in ((sealed, "amc/onc"), (sealed[:-2] + "AA", "charite/gyn"), ("", "charite/gyn"), ("é", "c")):
        with pytest.raises(Told):
            pages.open(text, clinic)


# Bytes


def test_a_resource_leaves_as_it_was_sent_but_for_id_and_meta() -> None:
    raw = b'{"resourceType":"Observation","id":"mine","valueQuantity":{"value":1.10}}'
    assert bundles.shown(raw, "theirs", 3, NOW) == (
        b'{"resourceType":"Observation","id":"theirs",'
        b'"meta":{"versionId":"3","lastUpdated":"2026-03-01T12:00:00.123Z"},"valueQuantity":{"value":1.10}}'
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resourceType":"A","id":"x","status":"final","meta":{"tag":[]},"contained":[]}',
        b'{"id":"x","resourceType":"A","contained":[{"meta":{"versionId":"9"}}]}',
        b'{"resourceType":"A","id":"x","meta":{"versionId":"9","profile":["p"]},"text":"\\"meta\\": no"}',
        b'{"resourceType":"A","m\\u0065ta":{"source":"s"}}',
        b'{"resourceType":"A","id":"x","meta":{}}',
        b'{ "resourceType" : "A" , "id" : "x" , "x" : "meta" }',
        b'{"resourceType":"A","id":"x","x":"meta","meta":{"source":"\\\\"}}',
    ],
)
def test_meta_goes_where_it_was_wherever_that_is(raw: bytes) -> None:
    before, after = json.loads(raw), json.loads(bundles.shown(raw, "new", 2, NOW))
    meta = {**before.get("meta", {}), "versionId": "2", "lastUpdated": "2026-03-01T12:00:00.123Z"}
    assert after == {**before, "id": "new", "meta": meta}


def test_a_bundle_is_put_together_from_bytes() -> None:
    entry = bundles.match("http://h/fhir", "A", "1", b'{"x":1.10}')
    made = bundles.bundle("searchset", [entry], [("next", 'http://h/fhir/A?_page="')], 1)
    assert b'{"x":1.10}' in made
    assert json.loads(made)["link"] == [{"relation": "next", "url": 'http://h/fhir/A?_page="'}]
    assert json.loads(bundles.bundle("history", [], [], None)) == {"resourceType": "Bundle", "type": "history"}


# Versions


def row(source: str, version: int, before: int = 0) -> Row:
    return Row(UUID(int=1), UUID(int=2), source, "Encounter", version, NOW, False, version, before)


def test_versions_are_counted_over_all_services_that_kept_the_resource() -> None:
    rows = [(row("chart", 2), (1, 4)), (row("inpatient_oncology", 1, before=2), (7,))]
    found = [version_of(rows, number) for number in range(5)]
    assert [v and (v.place.source, v.place.seq) for v in found] == [
        None,
        ("chart", 1),
        ("chart", 4),
        ("inpatient_oncology", 7),
        None,
    ]


def test_a_resource_is_looked_for_under_both_ids_that_a_client_may_mean() -> None:
    names, given_id = Names({}, lambda _: [], Digests(b"k" * 32)), str(uuid4())
    own = UUID(resource_id("charite", "Observation", given_id))
    assert names.ids("charite", Named(("Observation",), given_id)) == [UUID(given_id), own]
    assert names.ids("charite", Named(("Patient",), "p1")) == []


# Reading what one has written


class Clock:
    def __init__(self) -> None:
        self.now, self.pauses = 0.0, 0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1


def test_a_read_waits_until_what_its_client_wrote_is_there() -> None:
    clock, id_ = Clock(), uuid4()
    written = Written(clock=clock, pause=clock.pause)
    written.note("mine", [Outcome("Observation", str(id_), 2, "updated"), Outcome("A", str(uuid4()), 1, "unchanged")])
    looks = iter([{}, {id_: (1, False)}, {id_: (2, False)}])
    assert written.settled("theirs", lambda _: pytest.fail("nothing to wait for"))
    assert written.settled("mine", lambda ids: next(looks))
    assert clock.pauses == 2
    assert written.settled("mine", lambda _: pytest.fail("it was there before"))


def test_a_read_does_not_wait_for_ever_and_says_so_once() -> None:
    clock = Clock()
    written = Written(clock=clock, pause=clock.pause)
    written.note("mine", [Outcome("Observation", str(uuid4()), 1, "created")])
    assert not written.settled("mine", lambda _: {}, seconds=2)
    assert 2 <= clock.now < 2.1
    assert written.settled("mine", lambda _: pytest.fail("it has given up"))


def test_a_deletion_is_there_once_the_resource_is_retracted() -> None:
    clock, id_ = Clock(), uuid4()
    written = Written(clock=clock, pause=clock.pause)
    written.note("mine", [Outcome("Condition", str(id_), 1, "deleted")])
    looks: Any = iter([{id_: (1, False)}, {id_: (1, True)}])
    assert written.settled("mine", lambda ids: next(looks))
    assert clock.pauses == 1


# Metadata


def test_metadata_says_what_is_routed_and_nothing_else() -> None:
    def none(_: Any) -> Any:
        raise AssertionError

    few = [Interaction(method="GET", path=path, handler=none) for path in ("/{type}/{id}", "/Patient/{id}/$everything")]
    (rest,) = statement(few, "http://h/fhir")["rest"]
    assert [r["type"] for r in rest["resource"]] == list(resource_types())
    assert {i["code"] for r in rest["resource"] for i in r["interaction"]} == {"read"}
    assert not any("searchParam" in r for r in rest["resource"])
    assert {r["type"] for r in rest["resource"] if "operation" in r} == {"Patient"}


@pytest.mark.parametrize("kind", sorted(parameters()))
def test_every_search_parameter_in_metadata_is_accepted_and_no_other(kind: str) -> None:
    values = {"token": "a", "reference": "a", "date": "2026", "string": "a"}

    def none(_: Any) -> Any:
        raise AssertionError

    routes = [Interaction(method="GET", path="/{type}", handler=none)]
    said = next(r for r in statement(routes, "x")["rest"][0]["resource"] if r["type"] == kind)
    for parameter in said["searchParam"]:
        value = "urn:a|b" if parameter["name"] == "identifier" else values[parameter["type"]]
        assert not search_of(kind, [(parameter["name"], value)], strict=True).problems
    for include in said.get("searchInclude", []):
        assert not search_of(kind, [("_include", include)], strict=True).problems
    others = {name for p in parameters().values() for name in p} - {p["name"] for p in said["searchParam"]}
    for name in sorted(others)[:20]:
        assert search_of(kind, [(name, "a")]).problems
