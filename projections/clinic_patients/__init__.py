"""The roster: per clinic the patients that it has written about or that were shared with it.

Who a patient is and what is open is the same for every clinic, so it is kept once, in a shared table; the clinic's own
table says whom it may see.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import field

from epicrisis.event import Meta, record, replace
from epicrisis.projection import Key, Projection, Scope
from schemas.access_audit import EVENTS as ACCESS
from schemas.diagnosis import (
    DiagnosisConfirmed,
    DiagnosisEnteredInError,
    DiagnosisRecorded,
    DiagnosisRefuted,
    DiagnosisResolved,
    DiagnosisRevised,
)
from schemas.directory import EntryAmended, EntryRecorded, EntryRetracted
from schemas.inpatient_oncology import TransferRequested
from schemas.referral import ReferralRequested
from schemas.registration import (
    PatientDeathRecorded,
    PatientDetailsChanged,
    PatientEnteredInError,
    PatientRegistered,
    PatientShared,
)

projection = Projection(name="clinic_patients", version=2, scope=Scope.CLINIC, roster=True)

OVER = frozenset({"resolved", "inactive", "remission"})
"""The clinical statuses of a problem that is not open (https://hl7.org/fhir/R4/valueset-condition-clinical.html)."""


@projection.table(key=("clinic_id", "subject"))
@record
class Membership:
    """A subject that a clinic knows. The last event is the one recorded last; ``events`` counts the clinic's own."""

    clinic_id: str
    subject: UUID
    last_event: str
    last_event_at: datetime
    events: int
    updated: datetime


@projection.table(key=("subject",), name="clinic_patients_person", shared=True)
@record
class Person:
    """A patient. ``problems`` maps the id of an open condition to its text, code and verification.

    ``ruled_out`` names refuted conditions: another version of one of them does not open it again.
    """

    subject: UUID
    family: str = ""
    given: str = ""
    birth_date: str = ""
    gender: str = ""
    deceased: bool = False
    deceased_at: str = ""
    problems: dict[str, Any] = field(default_factory=dict)
    ruled_out: tuple[str, ...] = ()
    entered_in_error: bool = False
    updated: datetime


def own_clinic(meta: Meta) -> Iterable[Key]:
    """The row of the clinic that the event comes from."""
    return ((meta.clinic, meta.subject),)


def other_clinic(event: PatientShared, meta: Meta) -> Iterable[Key]:
    """The row of the clinic that a patient was shared with."""
    return () if event.with_clinic in ("", meta.clinic) else ((event.with_clinic, meta.subject),)


@projection.on_any(Membership, rows=own_clinic, but=(EntryRecorded, EntryAmended, EntryRetracted, *ACCESS))
def touched(row: Membership | None, meta: Meta) -> Membership:
    return _seen(row, meta, meta.clinic, 1)


@projection.on(PatientShared, Membership, rows=other_clinic)
def shared(row: Membership | None, event: PatientShared, meta: Meta) -> Membership:
    return _seen(row, meta, event.with_clinic, 0)


def _seen(row: Membership | None, meta: Meta, clinic: str, own: int) -> Membership:
    """The newest event is kept, whichever arrives first."""
    if row is None or (meta.recorded, meta.effective, meta.type) > (row.updated, row.last_event_at, row.last_event):
        return Membership(
            clinic_id=clinic,
            subject=meta.subject,
            last_event=meta.type,
            last_event_at=meta.effective,
            events=own if row is None else row.events + own,
            updated=meta.recorded,
        )
    return replace(row, events=row.events + own)


def _person(row: Person | None, meta: Meta, **changes: Any) -> Person:
    if row is None:
        return Person(subject=meta.subject, updated=meta.recorded, **changes)
    return replace(row, updated=max(row.updated, meta.recorded), **changes)


@projection.on(PatientRegistered, Person)
@projection.on(PatientDetailsChanged, Person)
def details(row: Person | None, event: PatientRegistered | PatientDetailsChanged, meta: Meta) -> Person:
    return _person(row, meta, family=event.family, given=event.given, birth_date=event.birth_date, gender=event.gender)


@projection.on(PatientDeathRecorded, Person)
def died(row: Person | None, event: PatientDeathRecorded, meta: Meta) -> Person:
    return _person(row, meta, deceased=True, deceased_at=event.deceased_at)


@projection.on(PatientEnteredInError, Person)
def person_in_error(row: Person | None, event: PatientEnteredInError, meta: Meta) -> Person:
    return _person(row, meta, entered_in_error=True)


@projection.on(PatientShared, Person)
@projection.on(ReferralRequested, Person)
@projection.on(TransferRequested, Person)
def heard_of(row: Person | None, event: object, meta: Meta) -> Person:
    """A patient, whose registration may come later."""
    return _person(row, meta)


@projection.on(DiagnosisRecorded, Person)
@projection.on(DiagnosisRevised, Person)
def problem(row: Person | None, event: DiagnosisRecorded | DiagnosisRevised, meta: Meta) -> Person:
    if event.clinical_status in OVER or (row is not None and event.condition_id in row.ruled_out):
        return _without(row, event.condition_id, meta)
    now = {
        "text": event.text or event.code.display or event.code.code,
        "code": event.code.token,
        "verification": event.verification,
    }
    return _person(row, meta, problems={**(row.problems if row else {}), event.condition_id: now})


@projection.on(DiagnosisConfirmed, Person)
def problem_confirmed(row: Person | None, event: DiagnosisConfirmed, meta: Meta) -> Person:
    problems = dict(row.problems) if row else {}
    if event.condition_id in problems:
        problems[event.condition_id] = {**problems[event.condition_id], "verification": "confirmed"}
    return _person(row, meta, problems=problems)


@projection.on(DiagnosisRefuted, Person)
def problem_ruled_out(row: Person | None, event: DiagnosisRefuted, meta: Meta) -> Person:
    ruled_out = {*(row.ruled_out if row else ()), event.condition_id}
    return replace(_without(row, event.condition_id, meta), ruled_out=tuple(sorted(ruled_out)))


@projection.on(DiagnosisResolved, Person)
@projection.on(DiagnosisEnteredInError, Person)
def problem_over(row: Person | None, event: DiagnosisResolved | DiagnosisEnteredInError, meta: Meta) -> Person:
    return _without(row, event.condition_id, meta)


def _without(row: Person | None, condition_id: str, meta: Meta) -> Person:
    problems = {key: value for key, value in row.problems.items() if key != condition_id} if row else {}
    return _person(row, meta, problems=problems)
