"""What happens in the cluster: events per operator, clinic, month, event type and diagnosis group; no patients."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import lru_cache

from epicrisis.event import Meta, record
from epicrisis.projection import Projection, Scope
from schemas.access_audit import EVENTS as ACCESS
from schemas.diagnosis import (
    DiagnosisConfirmed,
    DiagnosisEnteredInError,
    DiagnosisRecorded,
    DiagnosisRefuted,
    DiagnosisResolved,
    DiagnosisRevised,
    DiagnosisStaged,
)

projection = Projection(name="cluster_activity", version=1, scope=Scope.CLUSTER)

GROUPED = (
    DiagnosisRecorded,
    DiagnosisRevised,
    DiagnosisConfirmed,
    DiagnosisStaged,
    DiagnosisRefuted,
    DiagnosisResolved,
    DiagnosisEnteredInError,
)
"""The events that name a diagnosis group."""

Diagnosis = (
    DiagnosisRecorded
    | DiagnosisRevised
    | DiagnosisConfirmed
    | DiagnosisStaged
    | DiagnosisRefuted
    | DiagnosisResolved
    | DiagnosisEnteredInError
)


@projection.counter(key=("operator", "clinic", "month", "event_type", "diagnosis_group"), sums=("events",))
@record
class Activity:
    """How many events. ``month`` is the first day of the month (UTC) in which they were true."""

    operator: str
    clinic: str
    month: date
    event_type: str
    diagnosis_group: str
    events: int


@projection.count_any(Activity, but=(*GROUPED, *ACCESS))
def happened(meta: Meta) -> Iterable[Activity]:
    return _one(meta, "")


@projection.count(DiagnosisRecorded, Activity)
@projection.count(DiagnosisRevised, Activity)
@projection.count(DiagnosisConfirmed, Activity)
@projection.count(DiagnosisStaged, Activity)
@projection.count(DiagnosisRefuted, Activity)
@projection.count(DiagnosisResolved, Activity)
@projection.count(DiagnosisEnteredInError, Activity)
def diagnosed(event: Diagnosis, meta: Meta) -> Iterable[Activity]:
    return _one(meta, event.group)


def _one(meta: Meta, group: str) -> tuple[Activity]:
    return _increment(meta.operator, meta.clinic, meta.effective.year, meta.effective.month, meta.type, group)


@lru_cache(maxsize=4096)  # every event comes by here, and few of them differ
def _increment(operator: str, clinic: str, year: int, month: int, event_type: str, group: str) -> tuple[Activity]:
    return (
        Activity(
            operator=operator,
            clinic=clinic,
            month=date(year, month, 1),
            event_type=event_type,
            diagnosis_group=group,
            events=1,
        ),
    )
