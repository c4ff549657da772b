"""The oncology ward: who is in, who is expected, where they lie, and which stage of treatment they are in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import field

from epicrisis.event import Meta, record, replace
from epicrisis.projection import Key, Projection, Scope
from schemas.inpatient_oncology import (
    BedAssigned,
    PatientAdmitted,
    PatientDischarged,
    StayEnteredInError,
    StayRevised,
    TransferCancelled,
    TransferRequested,
    TreatmentStageFinished,
    TreatmentStageStarted,
    WardMoved,
)

projection = Projection(name="clinic_oncology_ward", version=2, scope=Scope.CLINIC)

StayEvent = (
    TransferRequested
    | StayRevised
    | BedAssigned
    | PatientAdmitted
    | WardMoved
    | TreatmentStageStarted
    | TreatmentStageFinished
    | PatientDischarged
    | TransferCancelled
)


@projection.table(key=("clinic_id", "subject", "stay_id"))
@record
class Stay:
    """A stay. ``status``: requested, bed assigned, in, discharged or cancelled.

    ``stage`` is the kind of the stage of treatment that began last and is not over, ``stage_since`` its begin;
    ``stages`` maps every stage's id to its kind, code, start, end and outcome.
    """

    clinic_id: str
    subject: UUID
    stay_id: str
    status: str = "requested"
    location_id: str = ""
    stage: str = ""
    stage_since: datetime | None = None
    stages: dict[str, Any] = field(default_factory=dict)
    from_clinic: str = ""
    condition_id: str = ""
    referral_id: str = ""
    requested_at: datetime | None = None
    admitted_at: datetime | None = None
    discharged_at: datetime | None = None
    cancelled_at: datetime | None = None
    updated: datetime


def former_clinic(event: StayRevised, meta: Meta) -> Iterable[Key]:
    if event.previous_clinic_id in ("", event.clinic_id):
        return ()
    return ((event.previous_clinic_id, meta.subject, event.stay_id),)


def _stay(row: Stay | None, event: StayEvent, meta: Meta, **changes: Any) -> Stay:
    old = row or Stay(clinic_id=event.clinic_id, subject=meta.subject, stay_id=event.stay_id, updated=meta.recorded)
    return replace(old, updated=meta.recorded, **changes)


@projection.on(TransferRequested, Stay)
def requested(row: Stay | None, event: TransferRequested, meta: Meta) -> Stay:
    return _stay(
        row,
        event,
        meta,
        from_clinic=event.from_clinic,
        condition_id=event.condition_id,
        referral_id=event.referral_id,
        requested_at=meta.effective,
    )


@projection.on(StayRevised, Stay)
def revised(row: Stay | None, event: StayRevised, meta: Meta) -> Stay:
    return _stay(row, event, meta)


@projection.on(StayRevised, Stay, rows=former_clinic)
def readdressed(row: Stay | None, event: StayRevised, meta: Meta) -> None:
    """That clinic does not expect the patient any more."""


@projection.on(BedAssigned, Stay)
def bed_assigned(row: Stay | None, event: BedAssigned, meta: Meta) -> Stay:
    """A patient who is in stays where they are until they are moved."""
    if row is not None and row.admitted_at is not None:
        return _stay(row, event, meta)
    return _stay(row, event, meta, status="bed assigned", location_id=event.location_id)


@projection.on(PatientAdmitted, Stay)
def admitted(row: Stay | None, event: PatientAdmitted, meta: Meta) -> Stay:
    return _stay(
        row,
        event,
        meta,
        status="in",
        location_id=event.location_id or (row.location_id if row else ""),
        condition_id=event.condition_id or (row.condition_id if row else ""),
        referral_id=event.referral_id or (row.referral_id if row else ""),
        admitted_at=meta.effective,
    )


@projection.on(WardMoved, Stay)
def moved(row: Stay | None, event: WardMoved, meta: Meta) -> Stay:
    return _stay(row, event, meta, location_id=event.location_id)


@projection.on(TreatmentStageStarted, Stay)
def stage_started(row: Stay | None, event: TreatmentStageStarted, meta: Meta) -> Stay:
    stage = {"kind": event.kind, "code": event.code.token, "started": meta.effective.isoformat()}
    return _staged(_stay(row, event, meta), event.stage_id, stage)


@projection.on(TreatmentStageFinished, Stay)
def stage_finished(row: Stay | None, event: TreatmentStageFinished, meta: Meta) -> Stay:
    stage = {"kind": event.kind, "finished": meta.effective.isoformat(), "outcome": event.outcome}
    return _staged(_stay(row, event, meta), event.stage_id, stage)


def _staged(row: Stay, stage_id: str, stage: dict[str, str]) -> Stay:
    """The stages with this one added or changed, and the current one among them."""
    stages = {**row.stages, stage_id: {**row.stages.get(stage_id, {}), **stage}}
    begun = [(datetime.fromisoformat(s["started"]), s["kind"]) for s in stages.values() if "finished" not in s]
    since, kind = max(begun) if begun and row.discharged_at is None else (None, "")
    return replace(row, stages=stages, stage=kind, stage_since=since)


@projection.on(PatientDischarged, Stay)
def discharged(row: Stay | None, event: PatientDischarged, meta: Meta) -> Stay:
    return _stay(row, event, meta, status="discharged", discharged_at=meta.effective, stage="", stage_since=None)


@projection.on(TransferCancelled, Stay)
def cancelled(row: Stay | None, event: TransferCancelled, meta: Meta) -> Stay:
    return _stay(row, event, meta, status="cancelled", cancelled_at=meta.effective, stage="", stage_since=None)


@projection.on(StayEnteredInError, Stay)
def entered_in_error(row: Stay | None, event: StayEnteredInError, meta: Meta) -> None:
    """Nobody lies in a bed by mistake."""
