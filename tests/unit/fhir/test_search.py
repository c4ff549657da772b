"""What resources are searched by: the table of parameters, and what is read off a resource."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.fhir.search import ANY, FOREVER, interval, normal, parameters, patient_parameters, token
from epicrisis.fhir.searched import NOTHING, facts
from epicrisis.fhir.spec import types


def told(kind: str, **elements: Any) -> Any:
    return facts(kind, json.dumps({"resourceType": kind, **elements}).encode())


@pytest.mark.parametrize("kind", sorted(parameters()))
def test_every_parameter_leads_to_elements_of_its_type(kind: str) -> None:
    assert types()[kind].resource
    for parameter in parameters()[kind].values():
        assert parameter.paths
    assert sum(p.kind == "date" for p in parameters()[kind].values()) <= 1, "a row has one date"


@pytest.mark.parametrize("kind", sorted(parameters()))
def test_an_empty_resource_is_found_by_nothing(kind: str) -> None:
    assert told(kind) == NOTHING


def test_every_coding_of_a_concept_counts_with_and_without_its_system() -> None:
    found = told("Observation", code={"coding": [{"system": "urn:own", "code": "L1"}, {"code": "29463-7"}]})
    assert set(found.tokens) == {
        token("code", ANY, "L1"),
        token("code", "urn:own", "L1"),
        token("code", ANY, "29463-7"),
        token("code", "", "29463-7"),
    }


def test_references_words_and_flags_are_tokens_too() -> None:
    found = told("PractitionerRole", active=False, practitioner={"reference": "Practitioner/7"})
    assert set(found.tokens) == {token("active", ANY, "false"), token("practitioner", "", "7")}
    nested = told("Encounter", participant=[{"individual": {"reference": "Practitioner/7/_history/2"}}, {}])
    assert nested.tokens == (token("participant", "", "7"),)
    assert told("Encounter", serviceProvider={"reference": "#org"}).tokens == ()
    assert told("Encounter", serviceProvider={"reference": "http://elsewhere/Organization/1"}).tokens == ()


def test_the_date_is_that_of_the_choice_that_was_sent() -> None:
    noon = told("Procedure", performedPeriod={"start": "2026-03-01T12:00:00+01:00", "end": "2026-03-02"})
    assert (noon.begins, noon.ends) == (datetime(2026, 3, 1, 11, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))
    still = told("Encounter", period={"start": "2026"})
    assert (still.begins, still.ends) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    assert told("Condition", onsetString="as a child").begins is None


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026", (2026, 1, 1), (2027, 1, 1)),
        ("2026-12", (2026, 12, 1), (2027, 1, 1)),
        ("2024-02-29", (2024, 2, 29), (2024, 3, 1)),
        ("2026-03-01T10:30", (2026, 3, 1, 10, 30), (2026, 3, 1, 10, 31)),
        ("2026-03-01T10:30Z", (2026, 3, 1, 10, 30), (2026, 3, 1, 10, 31)),
        ("2026-03-01T10:30:15", (2026, 3, 1, 10, 30, 15), (2026, 3, 1, 10, 30, 16)),
        ("2026-03-01T10:30:15+02:00", (2026, 3, 1, 8, 30, 15), (2026, 3, 1, 8, 30, 16)),
        ("2026-03-01T10:30:15.250Z", (2026, 3, 1, 10, 30, 15, 250_000), (2026, 3, 1, 10, 30, 15, 251_000)),
    ],
)
def test_a_date_is_as_long_as_it_is_precise(text: str, begin: tuple[int, ...], end: tuple[int, ...]) -> None:
    assert interval(text) == (datetime(*begin, tzinfo=UTC), datetime(*end, tzinfo=UTC))  # type: ignore[arg-type,misc]


def test_the_last_year_ends_where_python_stops_counting() -> None:
    assert interval("9999")[1] == FOREVER


@given(st.text(max_size=40))
def test_what_is_no_date_is_said_to_be_none(text: str) -> None:
    try:
        begin, end = interval(text)
    except ValueError:
        return
    assert begin < end


def test_names_are_compared_without_case_accents_and_surplus_space() -> None:
    assert normal("  de la  CROIX-Müller ") == "de la croix-muller"
    assert normal("Straße") == "strasse"


def test_which_types_are_searched_by_patient() -> None:
    assert patient_parameters("Observation") == ("patient", "subject")
    assert patient_parameters("Immunization") == ("patient",)
    assert patient_parameters("Task") == ("patient", "subject")
    assert patient_parameters("Appointment") == ("patient",)
    assert patient_parameters("Patient") == patient_parameters("Organization") == ()
