"""Registration: which commands a Patient means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from epicrisis.decider import Inbound, To
from services.registration import service
from services.registration.decider import EnterPatientInError, RecordDeath, RegisterPatient, SharePatient

Make = Callable[..., Inbound]
SUBJECT = "00000000-0000-4000-8000-000000000001"
PATIENT = {
    "resourceType": "Patient",
    "id": "from-the-sender",
    "name": [
        {"use": "maiden", "family": "Vogel"},
        {"use": "official", "family": "Schmidt", "given": ["Anna", "Maria"]},
    ],
    "gender": "female",
    "birthDate": "1961-05",
}


def test_a_patient_is_registered_under_the_subject_and_the_official_name(inbound: Make) -> None:
    made = inbound(PATIENT)
    (to,) = service.reads["Patient"](made)
    assert to.stream == f"Patient/{SUBJECT}"
    assert to.keeps
    assert to.command == RegisterPatient(
        patient_id=SUBJECT,
        family="Schmidt",
        given="Anna Maria",
        birth_date="1961-05",
        gender="female",
        resource=made.raw,
    )


def test_a_date_of_death_is_a_death_on_that_day(inbound: Make) -> None:
    _, death = service.reads["Patient"](inbound(PATIENT | {"deceasedDateTime": "2026-02-03"}))
    assert death.command == RecordDeath(deceased_at="2026-02-03")
    assert death.effective == datetime(2026, 2, 3, tzinfo=UTC)


def test_deceased_true_is_a_death_without_a_date(inbound: Make) -> None:
    _, death = service.reads["Patient"](inbound(PATIENT | {"deceasedBoolean": True}))
    assert death.command == RecordDeath(deceased_at="")
    assert death.effective is None


def test_deceased_false_says_alive_and_silence_does_not(inbound: Make) -> None:
    (outright,) = service.reads["Patient"](inbound(PATIENT | {"deceasedBoolean": False}))
    (silent,) = service.reads["Patient"](inbound(PATIENT))
    assert (outright.command.alive, silent.command.alive) == (True, False)


def test_a_patient_without_a_name_is_registered(inbound: Make) -> None:
    (to,) = service.reads["Patient"](inbound({"resourceType": "Patient", "id": "x"}))
    assert (to.command.family, to.command.given, to.command.gender) == ("", "", "")


def test_a_name_that_is_only_text_is_shown(inbound: Make) -> None:
    (to,) = service.reads["Patient"](inbound({"resourceType": "Patient", "id": "x", "name": [{"text": "김지우"}]}))
    assert (to.command.family, to.command.given) == ("김지우", "")


def test_delete_means_entered_in_error(deleted: Make) -> None:
    assert list(service.reads["Patient"](deleted("Patient", "x"))) == [
        To(stream=f"Patient/{SUBJECT}", command=EnterPatientInError())
    ]


def test_sharing_keeps_no_resource() -> None:
    assert service.share is not None
    assert service.share(UUID(SUBJECT), "samsung/onco") == To(
        stream=f"Patient/{SUBJECT}", command=SharePatient(patient_id=SUBJECT, with_clinic="samsung/onco"), keeps=False
    )
