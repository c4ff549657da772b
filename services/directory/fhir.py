"""Reads entries off the five FHIR types that say who works where, and what is offered there.

https://hl7.org/fhir/R4/administration-module.html; languages: BCP 47
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from epicrisis.decider import Inbound, Reader, To
from epicrisis.fhir.codes import NOTHING
from epicrisis.fhir.values import absent, reference, text
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
        specialties=_specialties(inbound) if kind in ("PractitionerRole", "HealthcareService") else (),
        languages=_languages(inbound) if kind in ("Practitioner", "HealthcareService") else (),
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


def _specialties(inbound: Inbound) -> tuple[Coding, ...]:
    concepts = () if inbound.resource.specialty is UNSET else inbound.resource.specialty
    return tuple(_coding(inbound, concept) for concept in concepts)


def _coding(inbound: Inbound, concept: Any) -> Coding:
    fact = inbound.codes.concept(concept)
    return Coding(display=text(concept) or "") if fact is NOTHING else Coding.of(fact)


def _languages(inbound: Inbound) -> tuple[str, ...]:
    concepts = () if inbound.resource.communication is UNSET else inbound.resource.communication
    codes = (inbound.codes.concept(concept).code for concept in concepts)
    return tuple(dict.fromkeys(code for code in codes if code))


def _id(inbound: Inbound, named: Any) -> str:
    """The bare id of the entry that is named, or empty."""
    found = reference(named)
    return inbound.resolve(found).partition("/")[2] if found else ""


reads: Mapping[str, Reader] = dict.fromkeys(
    ("Organization", "Location", "Practitioner", "PractitionerRole", "HealthcareService"), entry
)
