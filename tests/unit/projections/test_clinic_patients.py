"""The roster."""

from __future__ import annotations

from typing import Any

from projections.clinic_patients import Membership, Person, projection
from schemas.diagnosis import DiagnosisEnteredInError, DiagnosisRefuted, DiagnosisResolved
from schemas.directory import EntryRecorded
from schemas.registration import PatientDeathRecorded, PatientEnteredInError, PatientShared
from tests.unit.projections.history import (
    BREAST,
    GP,
    ONCO,
    SUBJECT,
    Happened,
    at,
    confirmed,
    diagnosis,
    happened,
    id_,
    observation,
    registered,
    revised,
    row,
    rows,
)

PERSON = "clinic_patients_person"
SHARED = PatientShared(patient_id=str(SUBJECT), with_clinic=ONCO)
ABOUT: dict[str, Any] = {"condition_id": id_(1), "code": BREAST, "group": "oncology"}


def person(*events: Happened) -> Person:
    found: Person = row(projection, *events, table=PERSON)
    return found


def test_a_clinic_knows_the_patients_it_wrote_about() -> None:
    found = row(projection, happened(registered()), happened(observation(), 2))
    assert found == Membership(
        clinic_id=GP, subject=SUBJECT, last_event="chart.ResourceRecorded", last_event_at=at(2), events=2, updated=at(2)
    )


def test_a_shared_patient_is_on_both_rosters() -> None:
    other, own = rows(projection, happened(registered()), happened(SHARED, 1))
    assert (other.clinic_id, other.last_event, other.events) == (ONCO, "registration.PatientShared", 0)
    assert (own.clinic_id, own.last_event, own.events) == (GP, "registration.PatientShared", 2)


def test_sharing_with_oneself_counts_once() -> None:
    assert row(projection, happened(SHARED, clinic=ONCO)).events == 1


def test_the_last_event_is_the_one_recorded_last_not_the_one_heard_last() -> None:
    found = row(projection, happened(observation(), 1, recorded=9), happened(registered(), 5, recorded=6))
    assert (found.last_event, found.last_event_at, found.events) == ("chart.ResourceRecorded", at(1), 2)


def test_the_directory_is_on_no_roster() -> None:
    entry = EntryRecorded(
        resource_type="Practitioner",
        resource_id=id_(9),
        name="Dr. Who",
        active=True,
        specialties=(),
        languages=(),
        practitioner_id="",
        organization_id="",
        resource=b"{}",
    )
    assert rows(projection, happened(entry)) == []


def test_who_a_patient_is_comes_from_registration() -> None:
    found = person(
        happened(SHARED),
        happened(registered(), 1),
        happened(PatientDeathRecorded(patient_id="", deceased_at="2026"), 2),
    )
    assert (found.family, found.given, found.birth_date, found.gender) == ("Kraus", "Lena", "1971-05-02", "female")
    assert (found.deceased, found.deceased_at, found.updated) == (True, "2026", at(2))


def test_a_registration_by_mistake_is_marked() -> None:
    assert person(happened(registered()), happened(PatientEnteredInError(patient_id=""))).entered_in_error


def test_an_open_diagnosis_is_a_problem() -> None:
    found = person(happened(diagnosis()), happened(confirmed()))
    assert found.problems == {
        id_(1): {"text": "Breast cancer", "code": "http://hl7.org/fhir/sid/icd-10|C50.9", "verification": "confirmed"}
    }


def test_what_is_over_or_was_a_mistake_is_no_problem() -> None:
    for end in (DiagnosisResolved(**ABOUT, clinical_status="remission"), DiagnosisEnteredInError(**ABOUT)):
        assert person(happened(diagnosis()), happened(end)).problems == {}
    assert person(happened(diagnosis(clinical_status="resolved"))).problems == {}


def test_a_problem_that_comes_back_is_open_again() -> None:
    over = DiagnosisResolved(**ABOUT, clinical_status="resolved")
    assert id_(1) in person(happened(diagnosis()), happened(over), happened(revised())).problems


def test_another_version_of_a_refuted_diagnosis_does_not_open_it() -> None:
    found = person(happened(diagnosis()), happened(DiagnosisRefuted(**ABOUT)), happened(revised()))
    assert (found.problems, found.ruled_out) == ({}, (id_(1),))
