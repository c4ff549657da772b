"""All problems at once, and how FHIR says them."""

import json

from epicrisis.fhir.gate import Gate
from epicrisis.fhir.outcome import Problem, outcome
from epicrisis.fhir.problems import MAX_PROBLEMS, problems


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
    assert len(problems(json.dumps(doc).encode())) == MAX_PROBLEMS


def test_an_outcome_passes_the_gate_itself() -> None:
    for raw in (outcome([]), outcome(problems(b'{"resourceType":"Patient","active":1}'))):
        Gate().check(raw)
    warning = Problem(severity="warning", code="code-invalid", expression="", text="a local code has no mapping")
    issue = json.loads(outcome([warning]))["issue"]
    assert issue == [{"severity": "warning", "code": "code-invalid", "diagnostics": warning.text}]
