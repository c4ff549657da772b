"""Reads commands off a FHIR Patient (https://hl7.org/fhir/R4/patient.html)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import UNSET

from epicrisis.decider import Inbound, Reader, To
from epicrisis.fhir.values import instant
from services.registration.decider import EnterPatientInError, RecordDeath, RegisterPatient, SharePatient

_NAMES = ("official", "usual", UNSET, "temp", "anonymous", "nickname", "maiden", "old")
"""Which of several names is shown, best first (https://hl7.org/fhir/R4/valueset-name-use.html)."""


def patient(inbound: Inbound) -> Sequence[To]:
    """Register, change, record a death; DELETE means that the registration was a mistake."""
    stream = f"Patient/{inbound.subject}"
    if inbound.method == "DELETE" or inbound.resource is None:
        return [To(stream=stream, command=EnterPatientInError())]
    resource = inbound.resource
    family, given = _name(resource.name)
    commands = [
        To(
            stream=stream,
            command=RegisterPatient(
                patient_id=str(inbound.subject),
                family=family,
                given=given,
                birth_date=_or_empty(resource.birthDate),
                gender=_or_empty(resource.gender),
                alive=resource.deceasedBoolean is False,
                by_identifier=inbound.found_by == "identifier",
                resource=inbound.raw,
            ),
        )
    ]
    died = _or_empty(resource.deceasedDateTime)
    if died or resource.deceasedBoolean is True:
        effective = instant(died) if died else None
        commands.append(To(stream=stream, command=RecordDeath(deceased_at=died), effective=effective))
    return commands


def share(subject: UUID, clinic: str) -> To:
    """Let a clinic write about a subject."""
    patient_id = str(subject)
    return To(
        stream=f"Patient/{patient_id}", command=SharePatient(patient_id=patient_id, with_clinic=clinic), keeps=False
    )


def _or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _name(names: Any) -> tuple[str, str]:
    """Family and given name, of the name that is in official use."""
    if names is UNSET:
        return "", ""
    name = min(names, key=lambda n: _NAMES.index(n.use))
    given = " ".join(g for g in name.given if g) if name.given is not UNSET else ""
    return _or_empty(name.family) or ("" if given else _or_empty(name.text)), given


reads: Mapping[str, Reader] = {"Patient": patient}
