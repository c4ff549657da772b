"""Reads entries off the five FHIR types that say who works where, and what is offered there.

https://hl7.org/fhir/R4/administration-module.html; languages: BCP 47
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from epicrisis.decider import Inbound, Reader, To
from epicrisis.fhir.values import absent, coding, reference, text
from schemas.common import Coding
from services.directory.decider import RecordEntry, RetractEntry

_ORGANIZATION = {
    "Organization": "partOf",
    "Location": "managingOrganization",
    "PractitionerRole": "organization",
    "HealthcareService": "providedBy",
}
"""The element that names the organisation which an entry belongs to."""


def entry(inbound: Inbound) -> Sequence[To]:
    """Record the version; DELETE means that the entry was a mistake."""
    stream = inbound.stream
    if inbound.resource is None or inbound.method == "DELETE":
        return (To(stream=stream, command=RetractEntry()),)
    resource, kind = inbound.resource, inbound.resource_type
    organization = _ORGANIZATION.get(kind)
    record = RecordEntry(
        resource_type=kind,
        resource_id=inbound.resource_id,
        name=_name(resource, kind),
        active=_active(resource, kind),
        specialties=_specialties(resource) if kind in ("PractitionerRole", "HealthcareService") else (),
        languages=_languages(resource) if kind in ("Practitioner", "HealthcareService") else (),
        practitioner_id=_id(inbound, resource.practitioner) if kind == "PractitionerRole" else "",
        organization_id=_id(inbound, getattr(resource, organization)) if organization else "",
        resource=inbound.raw,
    )
    return (To(stream=stream, command=record),)


def _name(resource: Any, kind: str) -> str:
    match kind:
        case "Practitioner":
            return "" if resource.name is UNSET else _human(resource.name[0])
        case "PractitionerRole":
            practitioner = resource.practitioner
            return "" if absent(practitioner) or absent(practitioner.display) else str(practitioner.display)
        case _:
            return "" if absent(resource.name) else str(resource.name)


def _human(name: Any) -> str:
    """A name as it is spoken to: its text, else prefix, given and family name."""
    if not absent(name.text):
        return str(name.text)
    parts = [*(() if absent(name.prefix) else name.prefix), *(() if absent(name.given) else name.given), name.family]
    return " ".join(part for part in parts if not absent(part))


def _active(resource: Any, kind: str) -> bool:
    """Whether the entry is in use, as it is unless the sender says otherwise."""
    if kind == "Location":
        return bool(absent(resource.status) or resource.status == "active")
    return resource.active is not False


def _specialties(resource: Any) -> tuple[Coding, ...]:
    concepts = () if resource.specialty is UNSET else resource.specialty
    return tuple(_coding(concept) for concept in concepts)


def _coding(concept: Any) -> Coding:
    system, code, display = coding(concept) or (None, None, text(concept))
    return Coding(system=system or "", code=code or "", display=display or "")


def _languages(resource: Any) -> tuple[str, ...]:
    concepts = () if resource.communication is UNSET else resource.communication
    codes = (found[1] for concept in concepts if (found := coding(concept)))
    return tuple(dict.fromkeys(code for code in codes if code))


def _id(inbound: Inbound, named: Any) -> str:
    """The bare id of the entry that is named, or empty."""
    found = reference(named)
    return inbound.resolve(found).partition("/")[2] if found else ""


reads: Mapping[str, Reader] = dict.fromkeys(
    ("Organization", "Location", "Practitioner", "PractitionerRole", "HealthcareService"), entry
)
