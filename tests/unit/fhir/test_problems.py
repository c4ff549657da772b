"""All problems at once, and how FHIR says them."""

import json
from typing import Any

from epicrisis.fhir.gate import Gate
from epicrisis.fhir.outcome import Problem, outcome
from epicrisis.fhir.problems import MAX_OBJECTS, MAX_PROBLEMS, problems


def found(raw: bytes) -> list[tuple[str, str]]:
    return [(p.expression, p.code) for p in problems(raw)]


def test_every_problem_is_listed_with_its_place() -> None:
    doc = {
        "resourceType": "Patient",
        "gender": "banana",
        "birthDate": "1970-02-31",
        "brthDate": "x",
        "name": [{"given": ["a", 5]}, {"family": ""}],
        "deceasedBoolean": True,
        "deceasedDateTime": "2020",
        "contact": [{"period": {"start": "2020-13"}}],
        "generalPractitioner": [{"reference": "Slot/1"}],
        "contained": [{"resourceType": "Patient", "active": "yes"}],
        "extension": [{"url": "a:b"}],
    }
    assert set(found(json.dumps(doc).encode())) == {
        ("Patient.gender", "code-invalid"),
        ("Patient.birthDate", "value"),
        ("Patient", "structure"),
        ("Patient.name[0].given[1]", "structure"),
        ("Patient.name[1].family", "value"),
        ("Patient.contact[0].period.start", "value"),
        ("Patient.generalPractitioner[0].reference", "value"),
        ("Patient.contained[0].active", "structure"),
        ("Patient.contained[0]", "required"),
        ("Patient.extension[0]", "structure"),
    }


def test_a_likely_meant_name_is_offered_and_the_sent_one_is_not_repeated() -> None:
    (problem,) = problems(b'{"resourceType":"Patient","brthDate":"1970"}')
    assert problem.text == "there is a property that Patient does not have (is `birthDate` meant?)"


def test_places_in_a_bundle_have_their_entry() -> None:
    entries = [{"resource": {"resourceType": "Patient", "active": 1}}, {"resource": {"resourceType": "Bogus"}}]
    raw = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()
    assert found(raw) == [("Bundle.entry[0].resource.active", "structure"), ("Bundle.entry[1].resource", "structure")]


def test_what_cannot_be_read_is_one_problem() -> None:
    assert found(b"{") == [("", "structure")]
    assert found(b'{"resourceType":"Patient","active":true') == [("Patient", "structure")]


def test_what_passes_has_no_problem() -> None:
    assert problems(b'{"resourceType":"Patient","active":true}') == []


def test_the_list_has_an_end() -> None:
    doc = {"resourceType": "Patient", "name": [{"family": 1}] * 500}
    *some, last = problems(json.dumps(doc).encode())
    assert len(some) == MAX_PROBLEMS
    assert (last.severity, last.text) == ("information", "there may be more: mend these, then send it again")


def test_the_search_has_an_end() -> None:
    """A late problem behind very many good objects is the gate's to find; the rest is not looked through."""
    doc = {"resourceType": "Patient", "name": [{"family": "x"}] * MAX_OBJECTS + [{"family": 1}, {"family": 2}]}
    first, last = problems(json.dumps(doc).encode())
    assert (first.expression, last.severity) == (f"Patient.name[{MAX_OBJECTS}].family", "information")


def large(*resources: Any, **more: Any) -> bytes:
    """A Bundle that is too large to be walked as a whole."""
    filler = {"resourceType": "Basic", "code": {"text": "x" * 500_000}}
    entries = [{"resource": r, "request": {"method": "POST", "url": "x"}} for r in (*resources, filler, filler, filler)]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries, **more}).encode()


def test_of_a_large_bundle_all_that_is_refused_is_walked() -> None:
    good, bad = {"resourceType": "Patient", "active": True}, {"resourceType": "Patient", "active": 1, "gender": "x"}
    assert problems(large(good)) == []
    assert found(large(good, bad, {"resourceType": "Bogus"}, bogus=1)) == [
        ("Bundle.entry[1].resource.active", "structure"),
        ("Bundle.entry[1].resource.gender", "code-invalid"),
        ("Bundle.entry[2].resource", "structure"),
        ("Bundle", "structure"),
    ]
    huge = {"resourceType": "Basic", "code": {"text": "x" * 1_100_000}}
    assert found(large(huge, bad))[0] == ("Bundle.entry[0].resource", "too-long")
    assert len(found(large(huge, bad))) == 3


def test_what_is_too_large_is_one_problem() -> None:
    assert found(b" " * 17_000_000) == [("", "too-long")]
    assert found(b'{"resourceType":"Patient","language":"' + b"x" * 1_100_000 + b'"}') == [("Patient", "too-long")]


def test_an_outcome_passes_the_gate_itself() -> None:
    for raw in (outcome([]), outcome(problems(b'{"resourceType":"Patient","active":1}'))):
        Gate().check(raw)
    warning = Problem(severity="warning", code="code-invalid", expression="", text="a local code has no mapping")
    issue = json.loads(outcome([warning]))["issue"]
    assert issue == [{"severity": "warning", "code": "code-invalid", "diagnostics": warning.text}]
