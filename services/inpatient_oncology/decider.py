"""What may happen to a stay: requested → (bed assigned) → admitted → moved → discharged; or cancelled before admission.

Stages of treatment run within it. An episode, under which several stays are one treatment, has a stream of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, assert_never

from msgspec import field

from epicrisis.decider import digest
from epicrisis.errors import Refused
from epicrisis.event import record, replace
from schemas.common import Coding
from schemas.inpatient_oncology import (
    BedAssigned,
    EpisodeRecorded,
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


@record
class RequestTransfer:
    """The stay as sent: what would be recorded of it, and the Encounter's ``status``."""

    transfer: TransferRequested
    status: str


@record
class AssignBed:
    """A bed waits for the patient."""

    location_id: str


@record
class AdmitPatient:
    """The patient is in; ``location_id`` is empty where nobody said where."""

    location_id: str


@record
class MoveWard:
    """The patient lies there now."""

    location_id: str


@record
class StartStage:
    """A stage of treatment began; ``stage_id`` is the Task's."""

    stage_id: str
    kind: str
    code: Coding


@record
class FinishStage:
    """A stage of treatment is over. ``outcome``: completed, failed or cancelled."""

    stage_id: str
    kind: str
    outcome: str


@record
class DischargePatient:
    """The patient left."""

    disposition: Coding


@record
class CancelTransfer:
    """The stay will not take place."""


@record
class EnterInError:
    """The stay, or the episode, was a mistake."""


@record
class RecordEpisode:
    """The episode of care as sent: what would be recorded of it."""

    episode: EpisodeRecorded


StayCommand: TypeAlias = (
    AssignBed | AdmitPatient | MoveWard | StartStage | FinishStage | DischargePatient | CancelTransfer
)
Command: TypeAlias = RequestTransfer | StayCommand | EnterInError | RecordEpisode
Event: TypeAlias = (
    TransferRequested
    | StayRevised
    | BedAssigned
    | PatientAdmitted
    | WardMoved
    | TreatmentStageStarted
    | TreatmentStageFinished
    | PatientDischarged
    | TransferCancelled
    | StayEnteredInError
    | EpisodeRecorded
)
Status: TypeAlias = Literal["requested", "admitted", "discharged", "cancelled", "in error"]


@record
class Stay:
    """What later decisions about a stay need to know. ``stages`` maps a stage to its outcome, None while it runs."""

    stay_id: str
    clinic_id: str
    condition_id: str
    referral_id: str
    digest: bytes
    status: Status = "requested"
    bed_id: str = ""
    location_id: str = ""
    stages: Mapping[str, str | None] = field(default_factory=dict)


State: TypeAlias = Stay | EpisodeRecorded  # of an episode, its latest version


def initial() -> State | None:
    """Nothing was asked for yet."""
    return None


def decide(command: Command, state: State | None) -> Sequence[Event]:
    """What happens, or `Refused`."""
    if isinstance(command, EnterInError):
        return _in_error(state)
    if isinstance(command, RecordEpisode):
        return _episode(command.episode, state if isinstance(state, EpisodeRecorded) else None)
    stay = state if isinstance(state, Stay) else None
    if isinstance(command, RequestTransfer):
        return _request(command, stay)
    if stay is None:
        if isinstance(command, StartStage | FinishStage):
            return []  # a Task of some other Encounter, that `chart` keeps
        raise Refused("this stay is not known yet; send the Encounter with status planned first")
    if stay.status == "in error":
        raise Refused("this stay was entered in error: nothing more can happen to it; send a new one")
    return _during(command, stay)


def _during(command: StayCommand, stay: Stay) -> Sequence[Event]:
    who = {"stay_id": stay.stay_id, "clinic_id": stay.clinic_id}
    match command:
        case AssignBed(location_id=bed):
            if bed == stay.bed_id:
                return []
            if stay.status != "requested":
                raise Refused(f"{_WHERE[stay.status]}: a bed cannot be assigned any more")
            return [BedAssigned(**who, location_id=bed)]
        case AdmitPatient(location_id=location):
            if stay.status in ("admitted", "discharged"):
                return []
            if stay.status == "cancelled":
                raise Refused("the stay was cancelled: request a new one before the patient is admitted")
            rests_on = {"condition_id": stay.condition_id, "referral_id": stay.referral_id}
            return [PatientAdmitted(**who, **rests_on, location_id=location)]
        case MoveWard(location_id=location):
            if location in ("", stay.location_id):
                return []
            if stay.status != "admitted":
                raise Refused(f"{_WHERE[stay.status]} and cannot be moved to another ward")
            return [WardMoved(**who, from_location_id=stay.location_id, location_id=location)]
        case StartStage(stage_id=stage, kind=kind, code=code):
            if stage in stay.stages:
                return []
            if stay.status not in ("admitted", "discharged"):
                raise Refused(f"{_WHERE[stay.status]}: treatment cannot start before the patient is admitted")
            return [TreatmentStageStarted(**who, stage_id=stage, kind=kind, code=code)]
        case FinishStage(stage_id=stage, kind=kind, outcome=outcome):
            if stage not in stay.stages:
                if outcome == "cancelled":
                    return []  # planned, and given up before it began
                raise Refused("this stage of treatment never started, so it cannot be finished")
            if stay.stages[stage] is not None:
                if stay.stages[stage] == outcome:
                    return []
                raise Refused(f"this stage of treatment is over already: {stay.stages[stage]}")
            return [TreatmentStageFinished(**who, stage_id=stage, kind=kind, outcome=outcome)]
        case DischargePatient(disposition=disposition):
            if stay.status == "discharged":
                return []
            if stay.status != "admitted":
                raise Refused("the patient was never admitted, so cannot be discharged: send the admission first")
            return [PatientDischarged(**who, disposition=disposition)]
        case CancelTransfer():
            if stay.status == "cancelled":
                return []
            if stay.status != "requested":
                raise Refused(f"{_WHERE[stay.status]}: the stay cannot be cancelled any more")
            return [TransferCancelled(**who)]
        case _:
            assert_never(command)


_IN_ERROR = "entered-in-error"
_WHERE: Mapping[Status, str] = {
    "requested": "the patient has not been admitted yet",
    "admitted": "the patient has been admitted already",
    "discharged": "the patient has been discharged",
    "cancelled": "the stay was cancelled",
    "in error": "the stay was entered in error",
}


def _request(command: RequestTransfer, stay: Stay | None) -> Sequence[Event]:
    transfer = command.transfer
    if stay is None:
        return [transfer]
    if stay.digest == digest(transfer.resource):
        return []
    if stay.status == "in error":
        if command.status == _IN_ERROR:
            return []
        raise Refused("this stay was entered in error and cannot be changed: send a new one")
    if stay.status == "cancelled" and command.status not in ("cancelled", _IN_ERROR):
        raise Refused("the stay was cancelled and cannot be taken up again: request a new one")
    if stay.status != "requested" and transfer.clinic_id != stay.clinic_id:
        raise Refused(f"{_WHERE[stay.status]}: for another clinic request another transfer")
    left = stay.clinic_id if stay.clinic_id != transfer.clinic_id else ""
    return [
        StayRevised(
            stay_id=stay.stay_id, clinic_id=transfer.clinic_id, previous_clinic_id=left, resource=transfer.resource
        )
    ]


def _episode(episode: EpisodeRecorded, latest: EpisodeRecorded | None) -> Sequence[Event]:
    if latest is not None and latest.status == _IN_ERROR:
        if episode.status == _IN_ERROR or episode.resource == latest.resource:
            return []
        raise Refused("this episode was entered in error and cannot be changed: send a new one")
    return [] if latest is not None and latest.resource == episode.resource else [episode]


def _in_error(state: State | None) -> Sequence[Event]:
    match state:
        case Stay(status=status) if status != "in error":
            return [StayEnteredInError(stay_id=state.stay_id, clinic_id=state.clinic_id)]
        case EpisodeRecorded(status=status) if status != _IN_ERROR:
            return [replace(state, status=_IN_ERROR, resource=b"")]
        case _:
            return []


def evolve(state: State | None, event: Event) -> State:
    """The state after an event."""
    if isinstance(event, EpisodeRecorded):
        return event
    if isinstance(event, TransferRequested):
        return Stay(
            stay_id=event.stay_id,
            clinic_id=event.clinic_id,
            condition_id=event.condition_id,
            referral_id=event.referral_id,
            digest=digest(event.resource),
        )
    assert isinstance(state, Stay), "a stay starts with TransferRequested"
    match event:
        case StayRevised(clinic_id=clinic, resource=resource):
            return replace(state, clinic_id=clinic, digest=digest(resource))
        case BedAssigned(location_id=bed):
            return replace(state, bed_id=bed)
        case PatientAdmitted(location_id=location):
            return replace(state, status="admitted", location_id=location)
        case WardMoved(location_id=location):
            return replace(state, location_id=location)
        case TreatmentStageStarted(stage_id=stage):
            return replace(state, stages={**state.stages, stage: None})
        case TreatmentStageFinished(stage_id=stage, outcome=outcome):
            return replace(state, stages={**state.stages, stage: outcome})
        case PatientDischarged():
            return replace(state, status="discharged")
        case TransferCancelled():
            return replace(state, status="cancelled")
        case StayEnteredInError():
            return replace(state, status="in error")
        case _:
            assert_never(event)
