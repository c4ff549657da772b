"""The worklist of referrals: what a clinic sent and what was sent to it, how far it is, and since when it waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from epicrisis.event import Meta, record, replace
from epicrisis.projection import Key, Projection, Scope
from schemas.referral import (
    ReferralAccepted,
    ReferralCancelled,
    ReferralCompleted,
    ReferralDeclined,
    ReferralEnteredInError,
    ReferralRequested,
    ReferralRevised,
    ReferralScheduled,
)

projection = Projection(name="clinic_referrals", version=2, scope=Scope.CLINIC)

Described = ReferralRequested | ReferralRevised
Progress = (
    Described
    | ReferralAccepted
    | ReferralDeclined
    | ReferralScheduled
    | ReferralCompleted
    | ReferralCancelled
    | ReferralEnteredInError
)


@projection.table(key=("clinic_id", "subject", "referral_id"))
@record
class Referral:
    """One side's view of a referral. ``direction``: in, out, or internal (a clinic asks itself).

    ``status``: requested, accepted, declined, scheduled, completed or cancelled. The times are when it was true;
    ``requested_at`` of a clinic that a referral was readdressed to is when it came to that clinic, and None for one
    that took up a request addressed to nobody: such a row lacks what the request said until it is revised.
    ``scheduled_for`` is a FHIR dateTime as sent.
    """

    clinic_id: str
    subject: UUID
    referral_id: str
    direction: str
    from_clinic: str
    to_clinic: str
    purpose: str = ""
    purpose_code: str = ""
    priority: str = ""
    status: str = "requested"
    reason: str = ""
    condition_id: str = ""
    requested_at: datetime | None = None
    accepted_at: datetime | None = None
    declined_at: datetime | None = None
    scheduled_for: str = ""
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    updated: datetime


def sender(event: Progress, meta: Meta) -> Iterable[Key]:
    return ((event.from_clinic, meta.subject, event.referral_id),)


def receiver(event: Progress, meta: Meta) -> Iterable[Key]:
    """None while the request is addressed to nobody, or to the sender itself."""
    if event.to_clinic in ("", event.from_clinic):
        return ()
    return ((event.to_clinic, meta.subject, event.referral_id),)


def both_clinics(event: Progress, meta: Meta) -> Iterable[Key]:
    return (*sender(event, meta), *receiver(event, meta))


def former_receiver(event: ReferralRevised, meta: Meta) -> Iterable[Key]:
    if event.previous_to_clinic in ("", event.to_clinic, event.from_clinic):
        return ()
    return ((event.previous_to_clinic, meta.subject, event.referral_id),)


@projection.on(ReferralRequested, Referral, rows=sender)
@projection.on(ReferralRevised, Referral, rows=sender)
def sent(row: Referral | None, event: Described, meta: Meta) -> Referral:
    return _described(row, event, meta, event.from_clinic)


@projection.on(ReferralRequested, Referral, rows=receiver)
@projection.on(ReferralRevised, Referral, rows=receiver)
def received(row: Referral | None, event: Described, meta: Meta) -> Referral:
    return _described(row, event, meta, event.to_clinic)


def _direction(event: Progress, clinic: str) -> str:
    if event.from_clinic == event.to_clinic:
        return "internal"
    return "out" if clinic == event.from_clinic else "in"


def _described(row: Referral | None, event: Described, meta: Meta, clinic: str) -> Referral:
    new = Referral(
        clinic_id=clinic,
        subject=meta.subject,
        referral_id=event.referral_id,
        direction=_direction(event, clinic),
        from_clinic=event.from_clinic,
        to_clinic=event.to_clinic,
        purpose=event.text or event.purpose.display or event.purpose.code,
        purpose_code=event.purpose.token,
        priority=event.priority,
        condition_id=event.condition_id,
        requested_at=meta.effective if row is None else row.requested_at,
        updated=meta.recorded,
    )
    if row is None or row.to_clinic != event.to_clinic:
        return new  # whoever is asked now has not answered yet
    return replace(
        new,
        status=row.status,
        reason=row.reason,
        accepted_at=row.accepted_at,
        declined_at=row.declined_at,
        scheduled_for=row.scheduled_for,
        completed_at=row.completed_at,
        cancelled_at=row.cancelled_at,
    )


@projection.on(ReferralRevised, Referral, rows=former_receiver)
def readdressed(row: Referral | None, event: ReferralRevised, meta: Meta) -> None:
    """It is no longer that clinic's."""


@projection.on(ReferralAccepted, Referral, rows=both_clinics)
def accepted(row: Referral | None, event: ReferralAccepted, meta: Meta) -> Referral:
    return replace(_taken(row, event, meta), status="accepted", accepted_at=meta.effective)


@projection.on(ReferralScheduled, Referral, rows=both_clinics)
def scheduled(row: Referral | None, event: ReferralScheduled, meta: Meta) -> Referral:
    return replace(_taken(row, event, meta), status="scheduled", scheduled_for=event.scheduled_for)


@projection.on(ReferralCompleted, Referral, rows=both_clinics)
def completed(row: Referral | None, event: ReferralCompleted, meta: Meta) -> Referral:
    return replace(_taken(row, event, meta), status="completed", completed_at=meta.effective)


def _taken(row: Referral | None, event: Progress, meta: Meta) -> Referral:
    """The row, which is new to a clinic that takes up a request addressed to nobody (the sender always has one)."""
    if row is not None:
        direction = _direction(event, row.clinic_id)
        return replace(row, to_clinic=event.to_clinic, direction=direction, updated=meta.recorded)
    return Referral(
        clinic_id=event.to_clinic,
        subject=meta.subject,
        referral_id=event.referral_id,
        direction="in",
        from_clinic=event.from_clinic,
        to_clinic=event.to_clinic,
        updated=meta.recorded,
    )


@projection.on(ReferralDeclined, Referral, rows=both_clinics)
def declined(row: Referral | None, event: ReferralDeclined, meta: Meta) -> Referral | None:
    return row and replace(
        row, status="declined", declined_at=meta.effective, reason=event.reason, updated=meta.recorded
    )


@projection.on(ReferralCancelled, Referral, rows=both_clinics)
def cancelled(row: Referral | None, event: ReferralCancelled, meta: Meta) -> Referral | None:
    return row and replace(
        row, status="cancelled", cancelled_at=meta.effective, reason=event.reason, updated=meta.recorded
    )


@projection.on(ReferralEnteredInError, Referral, rows=both_clinics)
def entered_in_error(row: Referral | None, event: ReferralEnteredInError, meta: Meta) -> None:
    """Nobody has to work on a mistake."""
