"""Chart: the facts that any resource is searched by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from epicrisis.decider import Inbound
from epicrisis.fhir.spec import resource_types
from schemas.common import Coding
from services.chart import service
from services.chart.decider import RecordResource, RetractResource
from services.chart.fhir import facts_of, fallback

Make = Callable[..., Inbound]
URN = "urn:uuid:00000000-0000-4000-8000-0000000000e1"
SUBJECT = {"reference": "Patient/p1"}


def concept(code: str, system: str = "http://example.org/codes") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": code.title()}]}


def coding(code: str, system: str = "http://example.org/codes") -> Coding:
    return Coding(system=system, code=code, display=code.title())


def record(made: Inbound) -> RecordResource:
    (to,) = fallback(made)
    assert isinstance(to.command, RecordResource)
    return to.command


def test_chart_is_the_fallback_and_reads_nothing_of_its_own() -> None:
    assert service.fallback is fallback
    assert not service.reads


def test_an_observation(inbound: Make) -> None:
    made = inbound(
        {
            "resourceType": "Observation",
            "id": "o1",
            "status": "final",
            "category": [concept("vital-signs")],
            "code": concept("height"),
            "subject": SUBJECT,
            "encounter": {"reference": URN},
            "effectiveDateTime": "2026-01-05T08:00:00+01:00",
            "issued": "2026-01-06T08:00:00Z",
        },
        resolve={URN: "Encounter/e1"},
    )
    (to,) = fallback(made)
    assert (to.stream, to.keeps, to.effective) == ("Observation/o1", True, datetime(2026, 1, 5, 7, tzinfo=UTC))
    assert to.command == RecordResource(
        resource_type="Observation",
        resource_id="o1",
        status="final",
        category=coding("vital-signs"),
        code=coding("height"),
        date="2026-01-05T08:00:00+01:00",
        encounter_id="e1",
        resource=made.raw,
    )


@pytest.mark.parametrize(
    ("resource", "facts"),
    [
        (
            {
                "resourceType": "Procedure",
                "status": "completed",
                "code": concept("x"),
                "subject": SUBJECT,
                "performedPeriod": {"start": "2026-01-01", "end": "2026-01-02"},
            },
            {"code": coding("x"), "date": "2026-01-01", "status": "completed"},
        ),
        (
            {
                "resourceType": "Immunization",
                "status": "completed",
                "vaccineCode": concept("flu"),
                "patient": SUBJECT,
                "occurrenceDateTime": "2025",
            },
            {"code": coding("flu"), "date": "2025"},
        ),
        (
            {
                "resourceType": "MedicationRequest",
                "status": "active",
                "intent": "order",
                "medicationCodeableConcept": concept("tamoxifen"),
                "subject": SUBJECT,
                "authoredOn": "2026-01-03",
            },
            {"code": coding("tamoxifen"), "date": "2026-01-03"},
        ),
        (
            {
                "resourceType": "MedicationAdministration",
                "status": "completed",
                "medicationReference": {"reference": "Medication/m1"},
                "subject": SUBJECT,
                "context": {"reference": "EpisodeOfCare/e1"},
                "effectivePeriod": {"start": "2026-01-04"},
            },
            {"code": Coding(), "date": "2026-01-04", "encounter_id": ""},
        ),
        (
            {
                "resourceType": "Encounter",
                "status": "finished",
                "class": {"system": "http://example.org/codes", "code": "AMB", "display": "Amb"},
                "type": [concept("check")],
                "period": {"start": "2026-01-05"},
            },
            {"code": coding("check"), "category": coding("AMB"), "date": "2026-01-05"},
        ),
        (
            {
                "resourceType": "AllergyIntolerance",
                "clinicalStatus": concept("active"),
                "category": ["food"],
                "code": concept("nuts"),
                "patient": SUBJECT,
                "recordedDate": "2026-01-06",
            },
            {"status": "active", "category": Coding(code="food"), "date": "2026-01-06"},
        ),
        (
            {
                "resourceType": "Goal",
                "lifecycleStatus": "active",
                "description": concept("walk"),
                "subject": SUBJECT,
                "startDate": "2026-01-07",
            },
            {"status": "active", "code": coding("walk"), "date": "2026-01-07"},
        ),
        (
            {"resourceType": "CarePlan", "status": "active", "intent": "order", "subject": SUBJECT, "period": {}},
            {"code": Coding(), "date": ""},
        ),
        (
            {"resourceType": "Observation", "status": "final", "code": {"text": "free"}, "subject": SUBJECT},
            {"code": Coding(), "category": Coding(), "date": "", "encounter_id": ""},
        ),
    ],
    ids=lambda value: value.get("resourceType", "") if isinstance(value, dict) else "",
)
def test_each_type_keeps_its_facts_elsewhere(inbound: Make, resource: dict[str, Any], facts: dict[str, Any]) -> None:
    resource = {k: v for k, v in resource.items() if v != {}}
    command = record(inbound({"id": "x1", **resource}))
    assert {name: getattr(command, name) for name in facts} == facts


def test_without_a_date_it_was_true_when_recorded(inbound: Make) -> None:
    (to,) = fallback(inbound({"resourceType": "Basic", "id": "b1", "code": concept("x")}))
    assert to.effective is None


def test_a_status_that_is_only_an_extension_is_empty(inbound: Make) -> None:
    why = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
    made = inbound({"resourceType": "Observation", "id": "o1", "_status": why, "code": concept("x")})
    assert record(made).status == ""


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Observation", "id": "x1", "status": "entered-in-error", "code": concept("x")},
        {
            "resourceType": "AllergyIntolerance",
            "id": "x1",
            "verificationStatus": concept("entered-in-error"),
            "patient": SUBJECT,
        },
    ],
)
def test_entered_in_error_retracts(inbound: Make, resource: dict[str, Any]) -> None:
    made = inbound(resource)
    (to,) = fallback(made)
    assert to.command == RetractResource(resource_type=resource["resourceType"], resource_id="x1", resource=made.raw)


def test_delete_retracts_without_bytes(deleted: Make) -> None:
    (to,) = fallback(deleted("Observation", "o1"))
    assert to.command == RetractResource(resource_type="Observation", resource_id="o1", resource=b"")


@pytest.mark.parametrize("resource_type", resource_types())
def test_every_type_of_r4_has_its_facts(resource_type: str) -> None:
    facts_of(resource_type)
