"""What may happen to a diagnosis: recorded, confirmed, staged, resolved; or refuted; or entered in error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, assert_never

from msgspec import field

from epicrisis.decider import digest
from epicrisis.errors import Refused
from epicrisis.event import record, replace
from schemas.common import Coding
from schemas.diagnosis import (
    DiagnosisConfirmed,
    DiagnosisEnteredInError,
    DiagnosisRecorded,
    DiagnosisRefuted,
    DiagnosisResolved,
    DiagnosisRevised,
    DiagnosisStaged,
)

OPEN = ("unconfirmed", "provisional", "differential", "confirmed")
"""The verifications under which a diagnosis may still hold (FHIR condition-ver-status without its two ends)."""

OVER = ("resolved", "inactive", "remission")
"""The clinical statuses of a condition that is over (FHIR condition-clinical)."""


@record
class RecordDiagnosis:
    """The Condition as sent. ``verification`` as in FHIR, unconfirmed where the sender says nothing."""

    condition_id: str
    code: Coding
    text: str
    group: str
    verification: str
    clinical_status: str
    onset: str
    encounter_id: str
    resource: bytes


@record
class ConfirmDiagnosis:
    """There is enough evidence."""


@record
class StageDiagnosis:
    """A stage group, a TNM category, or several; what is empty was not said. ``basis`` is where it was said."""

    stage_group: str = ""
    t: str = ""
    n: str = ""
    m: str = ""
    basis: str


@record
class RefuteDiagnosis:
    """It was ruled out."""


@record
class ResolveDiagnosis:
    """It is over: ``clinical_status`` is one of `OVER`."""

    clinical_status: str


@record
class EnterDiagnosisInError:
    """The entry was a mistake."""


Command: TypeAlias = (
    RecordDiagnosis | ConfirmDiagnosis | StageDiagnosis | RefuteDiagnosis | ResolveDiagnosis | EnterDiagnosisInError
)
Event: TypeAlias = (
    DiagnosisRecorded
    | DiagnosisRevised
    | DiagnosisConfirmed
    | DiagnosisStaged
    | DiagnosisRefuted
    | DiagnosisResolved
    | DiagnosisEnteredInError
)
Stage: TypeAlias = tuple[str, str, str, str]
"""Stage group, T, N, M."""


@record
class State:
    """What later decisions need to know.

    ``said`` maps a basis to the stage that stood after it: an older Observation sent again must not set the stage back.
    """

    condition_id: str
    code: Coding
    group: str
    digest: bytes
    verification: str
    confirmed: bool = False
    refuted: bool = False
    in_error: bool = False
    resolved: str = ""
    stage: Stage = ("", "", "", "")
    said: Mapping[str, Stage] = field(default_factory=dict)


def initial() -> State | None:
    """Nothing was written down yet."""
    return None


def decide(command: Command, state: State | None) -> Sequence[Event]:
    """What happens, or `Refused`."""
    if isinstance(command, RecordDiagnosis):
        return _record(command, state)
    if isinstance(command, EnterDiagnosisInError):
        if state is None or state.in_error:
            return []
        return [DiagnosisEnteredInError(condition_id=state.condition_id, code=state.code, group=state.group)]
    if state is None:
        raise Refused("this diagnosis is not known yet; send the Condition first")
    if state.in_error:
        raise Refused("this diagnosis was entered in error: nothing more can be said about it; record a new one")
    match command:
        case ConfirmDiagnosis():
            if state.refuted:
                raise Refused("this diagnosis was ruled out and cannot be confirmed: record a new diagnosis")
            if state.confirmed:
                return []
            return [DiagnosisConfirmed(condition_id=state.condition_id, code=state.code, group=state.group)]
        case StageDiagnosis():
            return _stage(command, state)
        case RefuteDiagnosis():
            if state.refuted:
                return []
            return [DiagnosisRefuted(condition_id=state.condition_id, code=state.code, group=state.group)]
        case ResolveDiagnosis(clinical_status=clinical_status):
            if state.refuted:
                raise Refused("this diagnosis was ruled out: there is nothing to resolve")
            if state.resolved == clinical_status:
                return []
            return [
                DiagnosisResolved(
                    condition_id=state.condition_id,
                    code=state.code,
                    group=state.group,
                    clinical_status=clinical_status,
                )
            ]
        case _:
            assert_never(command)


def _record(command: RecordDiagnosis, state: State | None) -> Sequence[Event]:
    known = command.verification if command.verification in OPEN else "unconfirmed"
    if state is None:
        return [
            DiagnosisRecorded(
                condition_id=command.condition_id,
                code=command.code,
                text=command.text,
                group=command.group,
                verification=known,
                clinical_status=command.clinical_status,
                onset=command.onset,
                encounter_id=command.encounter_id,
                resource=command.resource,
            )
        ]
    if state.digest == digest(command.resource):
        return []
    if state.in_error:
        if command.verification == "entered-in-error":
            return []
        raise Refused("this diagnosis was entered in error and cannot be changed: record a new one")
    if state.refuted and command.verification in OPEN:
        raise Refused("this diagnosis was ruled out and cannot be reopened: record a new diagnosis")
    if command.verification not in OPEN:
        known = state.verification
    elif state.confirmed:
        known = "confirmed"  # a late, older version does not take the confirmation back: that needs a refutation
    return [
        DiagnosisRevised(
            condition_id=command.condition_id,
            code=command.code,
            text=command.text,
            group=command.group,
            verification=known,
            clinical_status=command.clinical_status,
            onset=command.onset,
            encounter_id=command.encounter_id,
            resource=command.resource,
        )
    ]


def _stage(command: StageDiagnosis, state: State) -> Sequence[Event]:
    if state.refuted:
        raise Refused("this diagnosis was ruled out and cannot be staged")
    told: Stage = (command.stage_group, command.t, command.n, command.m)
    before = state.said.get(command.basis)
    if not any(told) or (before is not None and _says(told, before)):
        return []
    stage_group, t, n, m = (new or old for new, old in zip(told, state.stage, strict=True))
    return [
        DiagnosisStaged(
            condition_id=state.condition_id,
            code=state.code,
            group=state.group,
            stage_group=stage_group,
            t=t,
            n=n,
            m=m,
            basis=command.basis,
        )
    ]


def _says(told: Stage, before: Stage) -> bool:
    """Whether all that is told was so before."""
    return all(new in ("", old) for new, old in zip(told, before, strict=True))


def evolve(state: State | None, event: Event) -> State:
    """The state after an event."""
    match event:
        case DiagnosisRecorded():
            return State(
                condition_id=event.condition_id,
                code=event.code,
                group=event.group,
                digest=digest(event.resource),
                verification=event.verification,
            )
        case DiagnosisRevised():
            return replace(
                _known(state),
                code=event.code,
                group=event.group,
                digest=digest(event.resource),
                verification=event.verification,
                resolved=_known(state).resolved if event.clinical_status in OVER else "",
            )
        case DiagnosisConfirmed():
            return replace(_known(state), confirmed=True, verification="confirmed")
        case DiagnosisStaged(stage_group=stage_group, t=t, n=n, m=m, basis=basis):
            stage: Stage = (stage_group, t, n, m)
            return replace(_known(state), stage=stage, said={**_known(state).said, basis: stage})
        case DiagnosisRefuted():
            return replace(_known(state), refuted=True)
        case DiagnosisResolved(clinical_status=clinical_status):
            return replace(_known(state), resolved=clinical_status)
        case DiagnosisEnteredInError():
            return replace(_known(state), in_error=True)
        case _:
            assert_never(event)


def _known(state: State | None) -> State:
    assert state is not None, "a stream starts with DiagnosisRecorded"
    return state
