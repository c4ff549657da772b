"""Directory: which entry each of its five types means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from epicrisis.decider import Inbound
from schemas.common import Coding
from services.directory import service
from services.directory.decider import RecordEntry, RetractEntry

Make = Callable[..., Inbound]
ONCOLOGY = {"coding": [{"system": "http://snomed.info/sct", "code": "394593009", "display": "Medical oncology"}]}


def language(code: str) -> dict[str, Any]:
    return {"coding": [{"system": "urn:ietf:bcp:47", "code": code}]}


@pytest.mark.parametrize(
    ("resource", "facts"),
    [
        (
            {
                "resourceType": "Practitioner",
                "name": [{"prefix": ["Dr."], "given": ["Eva"], "family": "Weber"}],
                "communication": [language("de"), language("ko"), language("de")],
            },
            {"name": "Dr. Eva Weber", "languages": ("de", "ko"), "active": True},
        ),
        (
            {
                "resourceType": "PractitionerRole",
                "active": False,
                "practitioner": {"reference": "Practitioner/p1", "display": "Dr. Weber"},
                "organization": {"reference": "Organization/o1"},
                "specialty": [ONCOLOGY],
            },
            {
                "name": "Dr. Weber",
                "active": False,
                "practitioner_id": "p1",
                "organization_id": "o1",
                "specialties": (Coding(system="http://snomed.info/sct", code="394593009", display="Medical oncology"),),
            },
        ),
        (
            {
                "resourceType": "HealthcareService",
                "name": "Tumour board",
                "providedBy": {"reference": "Organization/o1"},
                "communication": [language("en")],
                "specialty": [{"text": "Oncology"}],
            },
            {
                "name": "Tumour board",
                "organization_id": "o1",
                "languages": ("en",),
                "specialties": (Coding(display="Oncology"),),
            },
        ),
        (
            {"resourceType": "Organization", "name": "Charité", "partOf": {"reference": "Organization/o1"}},
            {"name": "Charité", "organization_id": "o1", "active": True},
        ),
        (
            {
                "resourceType": "Location",
                "name": "Ward 3",
                "status": "suspended",
                "managingOrganization": {"reference": "Organization/o1"},
            },
            {"name": "Ward 3", "organization_id": "o1", "active": False},
        ),
        ({"resourceType": "Practitioner", "name": [{"text": "김 선생"}]}, {"name": "김 선생", "languages": ()}),
    ],
)
def test_each_type_becomes_an_entry(inbound: Make, resource: dict[str, Any], facts: dict[str, Any]) -> None:
    made = inbound({"id": "x1", **resource})
    (to,) = service.reads[made.resource_type](made)
    assert isinstance(to.command, RecordEntry)
    assert to.stream == f"{made.resource_type}/x1"
    assert to.command.resource == made.raw
    assert {name: getattr(to.command, name) for name in facts} == facts


def test_every_type_of_the_directory_is_identified() -> None:
    assert service.identifies == set(service.reads)


@pytest.mark.parametrize("resource_type", sorted(service.reads))
def test_delete_retracts(deleted: Make, resource_type: str) -> None:
    (to,) = service.reads[resource_type](deleted(resource_type, "x1"))
    assert to.command == RetractEntry()
