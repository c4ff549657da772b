"""Reads commands off a FHIR Condition, and the stage off an Observation that is about one.

https://hl7.org/fhir/R4/condition.html, https://hl7.org/fhir/us/mcode/StructureDefinition-mcode-tnm-stage-group.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET

from epicrisis.decider import Inbound, Reader, To
from epicrisis.fhir.values import absent, last_updated, moment, reference, text
from schemas.common import Coding
from services.diagnosis.decider import (
    OVER,
    ConfirmDiagnosis,
    EnterDiagnosisInError,
    RecordDiagnosis,
    RefuteDiagnosis,
    ResolveDiagnosis,
    StageDiagnosis,
)
from services.diagnosis.policy import Code, policy

_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_SAYS_NOTHING = frozenset(("registered", "cancelled", "entered-in-error"))
"""Statuses under which an Observation has no result."""


def condition(inbound: Inbound) -> Sequence[To]:
    """Record the version, then whatever its statuses and stages say has happened by now."""
    stream = inbound.stream
    resource = inbound.resource
    if inbound.method == "DELETE" or resource is None:
        return [To(stream=stream, command=EnterDiagnosisInError())]
    verification = _status(resource.verificationStatus, _VERIFICATION) or "unconfirmed"
    clinical = _status(resource.clinicalStatus, _CLINICAL)
    recorded, updated = moment(resource.recordedDate), last_updated(resource)
    commands = [To(stream=stream, command=_record(inbound, verification, clinical), effective=_when_recorded(resource))]

    def then(command: Any, effective: datetime | None) -> None:
        commands.append(To(stream=stream, command=command, effective=effective))

    match verification:
        case "entered-in-error":
            then(EnterDiagnosisInError(), updated)
        case "refuted":
            then(RefuteDiagnosis(), updated or recorded)
        case _:
            if verification == "confirmed":
                then(ConfirmDiagnosis(), recorded)
            for stage in _stages(inbound):
                then(stage, recorded)
            if clinical in OVER:
                then(ResolveDiagnosis(clinical_status=clinical), _abatement(resource) or updated)
    return commands


def observation(inbound: Inbound) -> Sequence[To]:
    """Take the stage from an Observation whose focus is a Condition; `chart` keeps the Observation."""
    resource = inbound.resource
    if resource is None or resource.focus is UNSET or inbound.method == "DELETE" or resource.status in _SAYS_NOTHING:
        return ()
    told = _told(inbound)
    if not told:
        return ()
    start = resource.effectivePeriod.start if resource.effectivePeriod is not UNSET else UNSET
    effective = moment(resource.effectiveDateTime) or moment(start) or moment(resource.issued)
    command = StageDiagnosis(basis=inbound.stream, **told)
    streams = (inbound.resolve(found) for focus in resource.focus if (found := reference(focus)))
    return [
        To(stream=stream, command=command, effective=effective, keeps=False)
        for stream in dict.fromkeys(streams)
        if stream.startswith("Condition/")
    ]


def _record(inbound: Inbound, verification: str, clinical: str) -> RecordDiagnosis:
    resource = inbound.resource
    onset = next((v for v in (resource.onsetDateTime, _start(resource.onsetPeriod)) if not absent(v)), "")
    encounter = reference(resource.encounter)
    return RecordDiagnosis(
        condition_id=inbound.resource_id,
        code=Coding.of(inbound.codes.concept(resource.code)),
        text=text(resource.code) or "",
        group=policy().group(inbound.codes.pairs(resource.code)),
        verification=verification,
        clinical_status=clinical,
        onset=str(onset),
        encounter_id=inbound.resolve(encounter).removeprefix("Encounter/") if encounter else "",
        resource=inbound.raw,
    )


def _stages(inbound: Inbound) -> Iterator[StageDiagnosis]:
    """What `Condition.stage` says, one command per basis: the assessment where one is named, else the Condition."""
    if inbound.resource.stage is UNSET:
        return
    told: dict[str, dict[str, str]] = {}
    for stage in inbound.resource.stage:
        if stage.summary is UNSET:
            continue
        assessed = reference(stage.assessment[0]) if stage.assessment is not UNSET else None
        basis = inbound.resolve(assessed) if assessed else inbound.stream
        part = policy().part(inbound.codes.pairs(stage.type))
        told.setdefault(basis, {}).update(_read(part, stage.summary))
    for basis, parts in told.items():
        yield StageDiagnosis(basis=basis, **parts)


def _told(inbound: Inbound) -> dict[str, str]:
    """The parts of a stage that an Observation and its components state."""
    told: dict[str, str] = {}
    resource = inbound.resource
    for item in (resource, *(() if resource.component is UNSET else resource.component)):
        part = policy().part(inbound.codes.pairs(item.code))
        if part is None:
            continue
        if not absent(item.valueString):
            told[part] = policy().written_as(part, (item.valueString,)) or item.valueString
        elif not absent(item.valueCodeableConcept):
            told.update(_read(part, item.valueCodeableConcept))
    return told


def _read(part: str | None, concept: Any) -> dict[str, str]:
    """The parts of a stage in a value: the part that is asked for, or whatever is written there."""
    words = list(_words(concept))
    if not words:
        return {}
    if part is None:
        found = {name: policy().written_as(name, words) for name in ("t", "n", "m")}
        if any(found.values()):
            return {name: value for name, value in found.items() if value}
        part = "stage_group"
    return {part: policy().written_as(part, words) or text(concept) or words[0]}


def _words(concept: Any) -> Iterator[str]:
    """Everything that a concept has to read: codes first, they are the shortest."""
    codings = [] if absent(concept.coding) else concept.coding
    yield from (c.code for c in codings if not absent(c.code))
    yield from (c.display for c in codings if not absent(c.display))
    if not absent(concept.text):
        yield concept.text


def _codes(concept: Any) -> Iterator[Code]:
    if absent(concept) or absent(concept.coding):
        return
    for item in concept.coding:
        if not absent(item.code):
            yield ("" if absent(item.system) else item.system), item.code


def _status(concept: Any, system: str) -> str:
    return next((code for where, code in _codes(concept) if where == system), "")


def _start(period: Any) -> Any:
    return UNSET if absent(period) else period.start


def _when_recorded(resource: Any) -> datetime | None:
    onset = moment(resource.onsetDateTime) or moment(_start(resource.onsetPeriod))
    return moment(resource.recordedDate) or onset


def _abatement(resource: Any) -> datetime | None:
    end = UNSET if absent(resource.abatementPeriod) else resource.abatementPeriod.end
    return moment(resource.abatementDateTime) or moment(end) or moment(_start(resource.abatementPeriod))


reads: Mapping[str, Reader] = {"Condition": condition, "Observation": observation}
