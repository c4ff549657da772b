"""Diagnosis: given a history, when a command comes, then."""

from __future__ import annotations

import pytest

from epicrisis.event import replace
from epicrisis.testing import given
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
from services.diagnosis import service
from services.diagnosis.decider import (
    ConfirmDiagnosis,
    EnterDiagnosisInError,
    RecordDiagnosis,
    RefuteDiagnosis,
    ResolveDiagnosis,
    StageDiagnosis,
)

BREAST = Coding(system="http://hl7.org/fhir/sid/icd-10", code="C50.9", display="")
RECORD = RecordDiagnosis(
    condition_id="c1",
    code=BREAST,
    text="",
    group="oncology",
    verification="provisional",
    clinical_status="active",
    onset="",
    encounter_id="",
    resource=b"v1",
)
RECORDED = DiagnosisRecorded(
    condition_id="c1",
    code=BREAST,
    text="",
    group="oncology",
    verification="provisional",
    clinical_status="active",
    onset="",
    encounter_id="",
    resource=b"v1",
)
CONFIRMED = DiagnosisConfirmed(condition_id="c1", code=BREAST, group="oncology")
REFUTED = DiagnosisRefuted(condition_id="c1", code=BREAST, group="oncology")
RESOLVED = DiagnosisResolved(condition_id="c1", code=BREAST, group="oncology", clinical_status="resolved")
IN_ERROR = DiagnosisEnteredInError(condition_id="c1", code=BREAST, group="oncology")


def staged(stage_group: str = "", t: str = "", n: str = "", m: str = "", basis: str = "o1") -> DiagnosisStaged:
    return DiagnosisStaged(
        condition_id="c1", code=BREAST, group="oncology", stage_group=stage_group, t=t, n=n, m=m, basis=basis
    )


def test_a_suspicion_is_recorded() -> None:
    given(service).when(RECORD).then(RECORDED)


def test_a_condition_that_arrives_confirmed_and_resolved_tells_the_whole_story() -> None:
    outcome = given(service).when(
        replace(RECORD, verification="confirmed", clinical_status="resolved"),
        ConfirmDiagnosis(),
        ResolveDiagnosis(clinical_status="resolved"),
    )
    outcome.then(replace(RECORDED, verification="confirmed", clinical_status="resolved"), CONFIRMED, RESOLVED)


def test_a_condition_that_arrives_refuted_was_unconfirmed_before() -> None:
    given(service).when(replace(RECORD, verification="refuted"), RefuteDiagnosis()).then(
        replace(RECORDED, verification="unconfirmed"), REFUTED
    )


def test_the_same_bytes_again_change_nothing() -> None:
    given(service, RECORDED).when(RECORD).then_nothing()


def test_other_bytes_make_a_new_version() -> None:
    outcome = given(service, RECORDED).when(replace(RECORD, resource=b"v2"))
    assert [type(event) for event in outcome.events] == [DiagnosisRevised]


def test_a_diagnosis_is_confirmed_once() -> None:
    given(service, RECORDED).when(ConfirmDiagnosis(), ConfirmDiagnosis()).then(CONFIRMED)


def test_a_late_older_version_does_not_take_the_confirmation_back() -> None:
    (revised,) = given(service, RECORDED, CONFIRMED).when(replace(RECORD, resource=b"v0")).events
    assert revised.verification == "confirmed"


def test_a_refuted_diagnosis_cannot_be_confirmed_staged_resolved_or_reopened() -> None:
    history = given(service, RECORDED, REFUTED)
    history.when(ConfirmDiagnosis()).then_refused("ruled out and cannot be confirmed")
    history.when(StageDiagnosis(t="T2", basis="o1")).then_refused("ruled out and cannot be staged")
    history.when(ResolveDiagnosis(clinical_status="resolved")).then_refused("nothing to resolve")
    history.when(replace(RECORD, resource=b"v2")).then_refused("cannot be reopened")


def test_a_confirmed_diagnosis_can_still_be_refuted() -> None:
    given(service, RECORDED, CONFIRMED).when(RefuteDiagnosis()).then(REFUTED)


def test_a_retracted_diagnosis_cannot_be_confirmed() -> None:
    given(service, RECORDED, IN_ERROR).when(ConfirmDiagnosis()).then_refused("entered in error")


def test_a_retracted_diagnosis_cannot_be_changed_but_retracted_again() -> None:
    history = given(service, RECORDED, IN_ERROR)
    history.when(replace(RECORD, resource=b"v2")).then_refused("entered in error")
    history.when(replace(RECORD, verification="entered-in-error", resource=b"v2")).then_nothing()
    history.when(EnterDiagnosisInError()).then_nothing()


def test_a_diagnosis_comes_back_and_is_resolved_again() -> None:
    outcome = given(service, RECORDED, RESOLVED).when(
        replace(RECORD, clinical_status="recurrence", resource=b"v2"),
        replace(RECORD, clinical_status="resolved", resource=b"v3"),
        ResolveDiagnosis(clinical_status="resolved"),
    )
    assert [type(event) for event in outcome.events] == [DiagnosisRevised, DiagnosisRevised, DiagnosisResolved]


def test_stages_add_up() -> None:
    given(service, RECORDED).when(StageDiagnosis(t="T2", basis="o1"), StageDiagnosis(n="N1", basis="o2")).then(
        staged(t="T2", basis="o1"), staged(t="T2", n="N1", basis="o2")
    )


def test_an_older_stage_sent_again_does_not_set_the_stage_back() -> None:
    history = given(service, RECORDED, staged(t="T2", basis="o1"), staged(t="T3", basis="o2"))
    history.when(StageDiagnosis(t="T2", basis="o1")).then_nothing()


def test_a_corrected_observation_changes_the_stage() -> None:
    history = given(service, RECORDED, staged(t="T2", basis="o1"))
    history.when(StageDiagnosis(t="T3", basis="o1")).then(staged(t="T3", basis="o1"))


@pytest.mark.parametrize("command", [ConfirmDiagnosis(), RefuteDiagnosis(), StageDiagnosis(t="T1", basis="o1")])
def test_nothing_is_said_about_a_diagnosis_that_is_not_known(command: object) -> None:
    given(service).when(command).then_refused("send the Condition first")


def test_deleting_an_unknown_diagnosis_is_nothing() -> None:
    given(service).when(EnterDiagnosisInError()).then_nothing()
