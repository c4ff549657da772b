"""Registration: given a history, when a command comes, then."""

from __future__ import annotations

from epicrisis.event import replace
from epicrisis.testing import given
from schemas.registration import (
    PatientDeathRecorded,
    PatientDetailsChanged,
    PatientEnteredInError,
    PatientRegistered,
    PatientShared,
)
from services.registration import service
from services.registration.decider import EnterPatientInError, RecordDeath, RegisterPatient, SharePatient

REGISTER = RegisterPatient(
    patient_id="p1", family="Kim", given="Ji-woo", birth_date="1970-02-03", gender="female", resource=b"v1"
)
REGISTERED = PatientRegistered(
    patient_id="p1", family="Kim", given="Ji-woo", birth_date="1970-02-03", gender="female", resource=b"v1"
)
DIED = PatientDeathRecorded(patient_id="p1", deceased_at="2026-01-01")
SHARED = PatientShared(patient_id="p1", with_clinic="samsung/onco")
IN_ERROR = PatientEnteredInError(patient_id="p1")


def test_a_new_person_is_registered() -> None:
    given(service).when(REGISTER).then(REGISTERED)


def test_the_same_bytes_again_change_nothing() -> None:
    given(service, REGISTERED).when(REGISTER).then_nothing()


def test_other_bytes_change_the_details() -> None:
    given(service, REGISTERED).when(replace(REGISTER, family="Park", resource=b"v2")).then(
        PatientDetailsChanged(
            patient_id="p1", family="Park", given="Ji-woo", birth_date="1970-02-03", gender="female", resource=b"v2"
        )
    )


def test_an_identifier_alone_does_not_make_two_people_one() -> None:
    other = replace(REGISTER, by_identifier=True, birth_date="1971-02-03", resource=b"v2")
    given(service, REGISTERED).when(other).then_refused("another date of birth")


def test_an_identifier_and_a_partial_date_of_birth_make_the_same_person() -> None:
    for date in ("1970", "1970-02", "1970-02-03", ""):
        same = replace(REGISTER, by_identifier=True, birth_date=date, resource=b"v2")
        assert given(service, REGISTERED).when(same).refusal is None


def test_a_date_of_birth_is_corrected_under_the_own_id() -> None:
    corrected = replace(REGISTER, birth_date="1971-02-03", resource=b"v2")
    assert given(service, REGISTERED).when(corrected).refusal is None


def test_a_person_who_arrives_dead_is_registered_and_the_death_recorded() -> None:
    given(service).when(REGISTER, RecordDeath(deceased_at="2026-01-01")).then(REGISTERED, DIED)


def test_a_death_is_recorded_once() -> None:
    given(service, REGISTERED, DIED).when(RecordDeath(deceased_at="2026-01-02")).then_nothing()


def test_the_dead_cannot_become_alive_again() -> None:
    given(service, REGISTERED, DIED).when(replace(REGISTER, alive=True, resource=b"v2")).then_refused("back to alive")


def test_details_of_the_dead_can_be_corrected() -> None:
    outcome = given(service, REGISTERED, DIED).when(replace(REGISTER, resource=b"v2"))
    assert [type(event) for event in outcome.events] == [PatientDetailsChanged]


def test_nobody_dies_who_was_never_registered() -> None:
    given(service).when(RecordDeath(deceased_at="")).then_refused("send the Patient first")


def test_a_patient_is_shared_with_a_clinic_once() -> None:
    share = SharePatient(patient_id="p1", with_clinic="samsung/onco")
    given(service, REGISTERED).when(share, share).then(SHARED)


def test_a_patient_shared_before_being_registered_is_registered_all_the_same() -> None:
    given(service, SHARED).when(REGISTER).then(REGISTERED)


def test_a_registration_by_mistake_is_marked_once() -> None:
    given(service, REGISTERED).when(EnterPatientInError(), EnterPatientInError()).then(IN_ERROR)


def test_deleting_a_person_whom_nobody_knows_is_nothing() -> None:
    given(service).when(EnterPatientInError()).then_nothing()


def test_nothing_happens_to_a_registration_by_mistake() -> None:
    history = given(service, REGISTERED, IN_ERROR)
    history.when(replace(REGISTER, resource=b"v2")).then_refused("by mistake")
    history.when(RecordDeath(deceased_at="")).then_refused("by mistake")
    history.when(SharePatient(patient_id="p1", with_clinic="samsung/onco")).then_refused("by mistake")
