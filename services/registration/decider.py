"""Who the patient is: registered once, changed often, dead at most once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, assert_never

from epicrisis.decider import digest
from epicrisis.errors import Refused
from epicrisis.event import record, replace
from schemas.registration import (
    PatientDeathRecorded,
    PatientDetailsChanged,
    PatientEnteredInError,
    PatientRegistered,
    PatientShared,
)


@record
class RegisterPatient:
    """The person's details as sent. ``alive`` is True only where the sender says so outright.

    ``by_identifier``: the sender's id is new here, an identifier alone says that this is a person known already.
    """

    patient_id: str
    family: str
    given: str
    birth_date: str
    gender: str
    alive: bool = False
    by_identifier: bool = False
    resource: bytes


@record
class RecordDeath:
    """The person has died. ``deceased_at`` is a FHIR dateTime, empty where only the fact is known."""

    deceased_at: str


@record
class SharePatient:
    """Let another clinic write about the person from now on."""

    patient_id: str
    with_clinic: str


@record
class EnterPatientInError:
    """The registration was a mistake."""


Command: TypeAlias = RegisterPatient | RecordDeath | SharePatient | EnterPatientInError
Event: TypeAlias = (
    PatientRegistered | PatientDetailsChanged | PatientDeathRecorded | PatientShared | PatientEnteredInError
)


@record
class State:
    """What later decisions need to know. ``digest`` is None while nothing but a sharing is known."""

    patient_id: str
    digest: bytes | None = None
    birth_date: str = ""
    dead: bool = False
    shared_with: frozenset[str] = frozenset()
    in_error: bool = False


def initial() -> State | None:
    """Nobody knows the person."""
    return None


def decide(command: Command, state: State | None) -> Sequence[Event]:
    """What happens, or `Refused`."""
    match command:
        case RegisterPatient():
            return _register(command, state)
        case RecordDeath():
            return _record_death(command, state)
        case SharePatient(patient_id=patient_id, with_clinic=clinic):
            if state is not None and clinic in state.shared_with:
                return []
            if state is not None and state.in_error:
                raise Refused("this patient was registered by mistake and cannot be sent to another clinic")
            return [PatientShared(patient_id=patient_id, with_clinic=clinic)]
        case EnterPatientInError():
            if state is None or state.in_error:
                return []
            return [PatientEnteredInError(patient_id=state.patient_id)]
        case _:
            assert_never(command)


def _register(command: RegisterPatient, state: State | None) -> Sequence[Event]:
    if state is None or (state.digest is None and not state.in_error):
        return [
            PatientRegistered(
                patient_id=command.patient_id,
                family=command.family,
                given=command.given,
                birth_date=command.birth_date,
                gender=command.gender,
                resource=command.resource,
            )
        ]
    if state.digest == digest(command.resource):
        return []
    if state.in_error:
        raise Refused("this patient was registered by mistake: register the person anew, under another id")
    if command.by_identifier and not _may_be_same(command.birth_date, state.birth_date):
        raise Refused(
            "an identifier of this patient belongs to a person with another date of birth:"
            " correct it, or send the change under the id that the person was registered with"
        )
    if state.dead and command.alive:
        raise Refused(
            "this patient is recorded as dead and cannot be set back to alive:"
            " if that was a mistake, mark the record as entered in error"
        )
    return [
        PatientDetailsChanged(
            patient_id=command.patient_id,
            family=command.family,
            given=command.given,
            birth_date=command.birth_date,
            gender=command.gender,
            resource=command.resource,
        )
    ]


def _may_be_same(one: str, other: str) -> bool:
    """Whether two FHIR dates can be the same day; one that is partial or missing may be any."""
    short = min(len(one), len(other))
    return one[:short] == other[:short]


def _record_death(command: RecordDeath, state: State | None) -> Sequence[Event]:
    if state is None or state.digest is None:
        raise Refused("this patient is not registered yet; send the Patient first")
    if state.dead:
        return []  # the first time of death stands; another one is in the Patient's own bytes
    if state.in_error:
        raise Refused("this patient was registered by mistake: nothing more can be recorded")
    return [PatientDeathRecorded(patient_id=state.patient_id, deceased_at=command.deceased_at)]


def evolve(state: State | None, event: Event) -> State:
    """The state after an event."""
    old = state or State(patient_id=event.patient_id)
    match event:
        case (
            PatientRegistered(resource=resource, birth_date=birth_date)
            | PatientDetailsChanged(resource=resource, birth_date=birth_date)
        ):
            return replace(old, digest=digest(resource), birth_date=birth_date)
        case PatientDeathRecorded():
            return replace(old, dead=True)
        case PatientShared(with_clinic=clinic):
            return replace(old, shared_with=old.shared_with | {clinic})
        case PatientEnteredInError():
            return replace(old, in_error=True)
        case _:
            assert_never(event)
