"""Diagnosis: which commands a Condition, or an Observation about one, means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from epicrisis.decider import Inbound, To
from services.diagnosis import service
from services.diagnosis.decider import (
    ConfirmDiagnosis,
    EnterDiagnosisInError,
    RecordDiagnosis,
    RefuteDiagnosis,
    ResolveDiagnosis,
    StageDiagnosis,
)
from services.diagnosis.policy import policy

Make = Callable[..., Inbound]
SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
CONDITION: dict[str, Any] = {
    "resourceType": "Condition",
    "id": "c1",
    "code": {"coding": [{"system": SNOMED, "code": "254837009", "display": "Breast cancer"}], "text": "Brustkrebs"},
    "subject": {"reference": "Patient/p1"},
    "encounter": {"reference": "urn:uuid:00000000-0000-4000-8000-0000000000e1"},
    "onsetDateTime": "2025-12-24",
    "recordedDate": "2026-01-02T10:00:00+01:00",
}
RECORDED = datetime(2026, 1, 2, 9, tzinfo=UTC)


def concept(system: str, code: str, display: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, **({"display": display} if display else {})}]}


def commands(made: Inbound) -> list[Any]:
    return [to.command for to in service.reads[made.resource_type](made)]


def test_a_condition_without_a_verification_is_unconfirmed(inbound: Make) -> None:
    made = inbound(CONDITION, resolve={"urn:uuid:00000000-0000-4000-8000-0000000000e1": "Encounter/e1"})
    (to,) = service.reads["Condition"](made)
    assert (to.stream, to.effective, to.keeps) == ("Condition/c1", RECORDED, True)
    assert isinstance(to.command, RecordDiagnosis)
    assert to.command.verification == "unconfirmed"
    assert to.command.group == "oncology"
    assert to.command.text == "Brustkrebs"
    assert to.command.code.display == "Breast cancer"
    assert to.command.onset == "2025-12-24"
    assert to.command.encounter_id == "e1"
    assert to.command.resource == made.raw


def test_confirmed_and_resolved_become_three_commands_each_with_its_time(inbound: Make) -> None:
    late = CONDITION | {
        "verificationStatus": concept(VERIFICATION, "confirmed"),
        "clinicalStatus": concept(CLINICAL, "resolved"),
        "abatementDateTime": "2026-02-01",
    }
    first, *rest = service.reads["Condition"](inbound(late))
    assert isinstance(first.command, RecordDiagnosis)
    assert rest == [
        To(stream="Condition/c1", command=ConfirmDiagnosis(), effective=RECORDED),
        To(
            stream="Condition/c1",
            command=ResolveDiagnosis(clinical_status="resolved"),
            effective=datetime(2026, 2, 1, tzinfo=UTC),
        ),
    ]


def test_refuted_and_entered_in_error(inbound: Make) -> None:
    refuted = CONDITION | {"verificationStatus": concept(VERIFICATION, "refuted")}
    assert commands(inbound(refuted))[1:] == [RefuteDiagnosis()]
    wrong = CONDITION | {"verificationStatus": concept(VERIFICATION, "entered-in-error")}
    assert commands(inbound(wrong))[1:] == [EnterDiagnosisInError()]


def test_delete_means_entered_in_error(deleted: Make) -> None:
    assert commands(deleted("Condition", "c1")) == [EnterDiagnosisInError()]


def test_stages_of_the_condition_itself_are_one_command(inbound: Make) -> None:
    made = inbound(
        CONDITION
        | {
            "stage": [
                {"summary": concept(SNOMED, "1222769007", "American Joint Committee on Cancer stage IIB")},
                {"summary": {"text": "pT2 pN1 M0"}},
            ]
        }
    )
    assert commands(made)[1:] == [StageDiagnosis(stage_group="IIB", t="pT2", n="pN1", m="M0", basis="Condition/c1")]


def test_a_stage_with_its_assessment_has_the_same_basis_as_the_observation(inbound: Make) -> None:
    stage = {"summary": {"text": "Stage IIIA"}, "assessment": [{"reference": "Observation/o1"}]}
    assert commands(inbound(CONDITION | {"stage": [stage]}))[1:] == [
        StageDiagnosis(stage_group="IIIA", basis="Observation/o1")
    ]


def observation(code: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": code,
        "subject": {"reference": "Patient/p1"},
        "focus": [{"reference": "Condition/c1"}],
        "effectiveDateTime": "2026-01-05",
        **more,
    }


@pytest.mark.parametrize(
    ("code", "value", "part"),
    [
        (concept(LOINC, "21908-9"), concept("http://cancerstaging.org", "3C"), {"stage_group": "3C"}),
        (concept(LOINC, "21902-2"), {"text": "Stage IV"}, {"stage_group": "IV"}),
        (concept(SNOMED, "399504009"), concept(SNOMED, "1228882005", "AJCC cT2"), {"t": "cT2"}),
        (concept(SNOMED, "371494008"), concept("https://www.uicc.org/resources/tnm", "N1"), {"n": "N1"}),
        (concept(LOINC, "21907-1"), {"text": "unusual"}, {"m": "unusual"}),
    ],
)
def test_a_staging_observation_stages_its_focus(inbound: Make, code: Any, value: Any, part: dict[str, str]) -> None:
    made = inbound(observation(code, valueCodeableConcept=value))
    assert list(service.reads["Observation"](made)) == [
        To(
            stream="Condition/c1",
            command=StageDiagnosis(basis="Observation/o1", **part),
            effective=datetime(2026, 1, 5, tzinfo=UTC),
            keeps=False,
        )
    ]


def test_components_are_read_too(inbound: Make) -> None:
    parts = [
        {"code": concept(LOINC, "21905-5"), "valueString": "T1c"},
        {"code": concept(LOINC, "21906-3"), "valueCodeableConcept": {"text": "N0"}},
    ]
    assert commands(inbound(observation(concept(LOINC, "21908-9"), component=parts))) == [
        StageDiagnosis(t="T1c", n="N0", basis="Observation/o1")
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"focus": [{"reference": "Patient/p2"}]},
        {"status": "entered-in-error"},
        {"code": concept(LOINC, "8302-2")},
    ],
)
def test_other_observations_are_not_for_this_service(inbound: Make, change: dict[str, Any]) -> None:
    made = inbound(observation(concept(LOINC, "21908-9"), valueCodeableConcept={"text": "II"}) | change)
    assert commands(made) == []


def test_a_deleted_observation_is_not_for_this_service(deleted: Make) -> None:
    assert commands(deleted("Observation", "o1")) == []


@pytest.mark.parametrize(
    ("system", "code", "group"),
    [
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "C50.9", "oncology"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "C7A.010", "oncology"),
        ("http://hl7.org/fhir/sid/icd-10", "D05", "oncology"),
        ("http://hl7.org/fhir/sid/icd-10", "D37.1", "oncology"),
        ("http://hl7.org/fhir/sid/icd-10", "D36.9", "benign_neoplasm"),
        ("http://hl7.org/fhir/sid/icd-10", "I10", "cardiovascular"),
        ("http://hl7.org/fhir/sid/icd-10", "Z00.0", "other"),
        (SNOMED, "254632001", "oncology"),
        (SNOMED, "38341003", "cardiovascular"),
        (SNOMED, "1", "other"),
        ("http://example.org/own", "C50", "other"),
        ("http://terminology.hl7.org/CodeSystem/icd-o-3", "8500/3", "oncology"),
    ],
)
def test_the_group_follows_the_policy(system: str, code: str, group: str) -> None:
    assert policy().group([(system, code)]) == group


def test_a_later_coding_gives_the_group_where_the_first_is_unknown() -> None:
    assert policy().group([("http://example.org/own", "x"), (SNOMED, "254837009")]) == "oncology"
