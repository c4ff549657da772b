"""Reads commands off an oncology Encounter of class IMP, an oncology EpisodeOfCare, and the Tasks that treat.

https://hl7.org/fhir/R4/encounter.html, https://hl7.org/fhir/R4/episodeofcare.html, https://hl7.org/fhir/R4/task.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET

from epicrisis.decider import Inbound, Reader, To
from epicrisis.fhir.values import absent, clinic_named, last_updated, moment, period, reference
from schemas.common import Coding
from schemas.inpatient_oncology import EpisodeRecorded, TransferRequested
from services.inpatient_oncology.decider import (
    AdmitPatient,
    AssignBed,
    CancelTransfer,
    DischargePatient,
    EnterInError,
    FinishStage,
    MoveWard,
    RecordEpisode,
    RequestTransfer,
    StartStage,
)
from services.inpatient_oncology.policy import policy

_IN_HOUSE = ("arrived", "triaged", "in-progress", "onleave")
_NOT_COMING = ("cancelled", "entered-in-error")


def encounter(inbound: Inbound) -> Sequence[To]:
    """An inpatient oncology stay: record the version, then what its status says has happened by now."""
    resource = inbound.resource
    stream = inbound.stream
    if resource is None or inbound.method == "DELETE":
        return [To(stream=stream, command=EnterInError(), keeps=False)]  # if it was a stay; if not, `chart` has it
    if resource.class_.code != "IMP" or not policy().is_oncology(inbound.codes.pairs(resource.serviceType)):
        if resource.status == "entered-in-error":
            return [To(stream=stream, command=EnterInError(), keeps=False)]
        return ()
    status = "" if absent(resource.status) else resource.status
    start, end = period(resource.period)
    request = RequestTransfer(transfer=_transfer(inbound), status=status)
    clinic = request.transfer.clinic_id
    elsewhere = clinic.partition("/")[0] != inbound.operator and status not in _NOT_COMING
    first = To(
        stream=stream,
        command=request,
        effective=_past(start, inbound) or last_updated(resource),  # a planned start is not when it was asked for
        shared_with=clinic if elsewhere else None,
    )
    return [first, *(To(stream=stream, command=c, effective=at) for c, at in _progress(inbound, status, start, end))]


def _progress(
    inbound: Inbound, status: str, start: datetime | None, end: datetime | None
) -> Iterator[tuple[Any, datetime | None]]:
    """What the status says has happened by now, each with when."""
    resource = inbound.resource
    if status == "planned":
        if bed := _bed(inbound):
            yield AssignBed(location_id=bed), last_updated(resource)
    elif status in _IN_HOUSE:
        location_id, since = _location(inbound)
        yield AdmitPatient(location_id=location_id), start
        yield MoveWard(location_id=location_id), since
    elif status == "finished":
        if start is not None:  # without it nothing says that the patient ever came
            yield AdmitPatient(location_id=_location(inbound)[0]), start
        left = UNSET if absent(resource.hospitalization) else resource.hospitalization.dischargeDisposition
        yield DischargePatient(disposition=Coding.of(inbound.codes.concept(left))), end
    elif status == "cancelled":
        yield CancelTransfer(), last_updated(resource)
    elif status == "entered-in-error":
        yield EnterInError(), last_updated(resource)


def episode(inbound: Inbound) -> Sequence[To]:
    """An oncology episode of care, each version of it."""
    resource = inbound.resource
    if resource is None or inbound.method == "DELETE":
        return [To(stream=inbound.stream, command=EnterInError(), keeps=False)]
    types = () if resource.type is UNSET else resource.type
    if not policy().is_oncology(code for concept in types for code in inbound.codes.pairs(concept)):
        return ()
    conditions = () if resource.diagnosis is UNSET else (d.condition for d in resource.diagnosis)
    recorded = EpisodeRecorded(
        episode_id=inbound.resource_id,
        clinic_id=clinic_named(resource.managingOrganization) or inbound.clinic,
        status="" if absent(resource.status) else resource.status,
        condition_id=_first(inbound, conditions, "Condition/"),
        referral_id=_first(inbound, resource.referralRequest, "ServiceRequest/"),
        resource=inbound.raw,
    )
    return [To(stream=inbound.stream, command=RecordEpisode(episode=recorded), effective=period(resource.period)[0])]


def task(inbound: Inbound) -> Sequence[To]:
    """Take the stage of treatment from a Task about a stay; `chart` keeps the Task."""
    resource = inbound.resource
    if resource is None or inbound.method == "DELETE":
        return ()
    kind = policy().stage(inbound.codes.pairs(resource.code))
    focus = reference(resource.focus)
    stream = inbound.resolve(focus) if kind and focus else ""
    if kind is None or not stream.startswith("Encounter/"):
        return ()
    start, end = period(resource.executionPeriod)
    changed = moment(resource.lastModified)
    stage_id = inbound.resource_id
    commands = []
    if resource.status in ("in-progress", "completed", "failed"):
        started = StartStage(stage_id=stage_id, kind=kind, code=Coding.of(inbound.codes.concept(resource.code)))
        over = end if resource.status != "in-progress" else None
        commands.append(To(stream=stream, command=started, effective=start or over or changed, keeps=False))
    if resource.status in ("completed", "failed", "cancelled"):
        finished = FinishStage(stage_id=stage_id, kind=kind, outcome=resource.status)
        commands.append(To(stream=stream, command=finished, effective=end or changed, keeps=False))
    return commands


def _transfer(inbound: Inbound) -> TransferRequested:
    resource = inbound.resource
    clinic = clinic_named(resource.serviceProvider) or inbound.clinic
    origin = UNSET if absent(resource.hospitalization) else resource.hospitalization.origin
    conditions = () if resource.diagnosis is UNSET else (d.condition for d in resource.diagnosis)
    return TransferRequested(
        stay_id=inbound.resource_id,
        clinic_id=clinic,
        from_clinic=clinic_named(origin) or inbound.clinic,
        condition_id=_first(inbound, conditions, "Condition/"),
        referral_id=_first(inbound, resource.basedOn, "ServiceRequest/"),
        episode_id=_first(inbound, resource.episodeOfCare, "EpisodeOfCare/"),
        resource=inbound.raw,
    )


def _first(inbound: Inbound, named: Any, prefix: str) -> str:
    """The bare id of the first reference to a type, or empty."""
    for one in () if named is UNSET else named:
        found = reference(one)
        resolved = inbound.resolve(found) if found else ""
        if resolved.startswith(prefix):
            return resolved.removeprefix(prefix)
    return ""


def _location_id(inbound: Inbound, place: Any) -> str:
    found = reference(place.location)
    return inbound.resolve(found).removeprefix("Location/") if found else ""


def _bed(inbound: Inbound) -> str:
    """The place that is reserved or planned."""
    places = () if inbound.resource.location is UNSET else inbound.resource.location
    return next((_location_id(inbound, p) for p in places if p.status in ("reserved", "planned")), "")


def _location(inbound: Inbound) -> tuple[str, datetime | None]:
    """Where the patient lies and since when: the active place, else the last."""
    places = [] if inbound.resource.location is UNSET else inbound.resource.location
    if not places:
        return "", None
    place = next((p for p in places if p.status == "active"), places[-1])
    return _location_id(inbound, place), period(place.period)[0]


def _past(moment: datetime | None, inbound: Inbound) -> datetime | None:
    return moment if moment is not None and moment <= inbound.now else None


reads: Mapping[str, Reader] = {"Encounter": encounter, "EpisodeOfCare": episode, "Task": task}
