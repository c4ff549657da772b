"""Inpatient oncology: given a history, when a command comes, then."""

from __future__ import annotations

import pytest

from epicrisis.event import replace
from epicrisis.testing import given
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
from services.inpatient_oncology import service
from services.inpatient_oncology.decider import (
    AdmitPatient,
    AssignBed,
    CancelTransfer,
    DischargePatient,
    EnterInError,
    FinishStage,
    MoveWard,
    RecordEpisode,
    RequestTransfer,
    StartStage,
)

HOME, NOWHERE = Coding(code="home"), Coding()
STAY = {"stay_id": "s1", "clinic_id": "samsung/onco"}
REQUESTED = TransferRequested(
    **STAY, from_clinic="charite/gyn", condition_id="c1", referral_id="r1", episode_id="e1", resource=b"v1"
)
REQUEST = RequestTransfer(transfer=REQUESTED, status="planned")
BED = BedAssigned(**STAY, location_id="w1")
ADMITTED = PatientAdmitted(**STAY, location_id="w1", condition_id="c1", referral_id="r1")
DISCHARGED = PatientDischarged(**STAY, disposition=HOME)
CANCELLED = TransferCancelled(**STAY)
IN_ERROR = StayEnteredInError(**STAY)
CHEMO = Coding(system="http://snomed.info/sct", code="367336001")
STARTED = TreatmentStageStarted(**STAY, stage_id="t1", kind="chemotherapy", code=CHEMO)
FINISHED = TreatmentStageFinished(**STAY, stage_id="t1", kind="chemotherapy", outcome="completed")
START = StartStage(stage_id="t1", kind="chemotherapy", code=CHEMO)
FINISH = FinishStage(stage_id="t1", kind="chemotherapy", outcome="completed")
EPISODE = EpisodeRecorded(
    episode_id="e1", clinic_id="samsung/onco", status="active", condition_id="c1", referral_id="", resource=b"v1"
)


def newer(status: str, clinic: str = "samsung/onco") -> RequestTransfer:
    return RequestTransfer(transfer=replace(REQUESTED, clinic_id=clinic, resource=b"v2"), status=status)


def test_the_whole_stay() -> None:
    given(service).when(
        REQUEST,
        AssignBed(location_id="w1"),
        AdmitPatient(location_id="w1"),
        MoveWard(location_id="w2"),
        START,
        FINISH,
        DischargePatient(disposition=HOME),
    ).then(
        REQUESTED,
        BED,
        ADMITTED,
        WardMoved(**STAY, from_location_id="w1", location_id="w2"),
        STARTED,
        FINISHED,
        DISCHARGED,
    )


def test_a_stay_that_arrives_finished_tells_request_admission_and_discharge() -> None:
    given(service).when(REQUEST, AdmitPatient(location_id="w1"), DischargePatient(disposition=HOME)).then(
        REQUESTED, ADMITTED, DISCHARGED
    )


def test_a_patient_who_was_never_admitted_cannot_be_discharged() -> None:
    given(service, REQUESTED).when(DischargePatient(disposition=NOWHERE)).then_refused("never admitted")


def test_a_bed_cannot_be_assigned_after_admission_unless_it_was_before() -> None:
    given(service, REQUESTED, ADMITTED).when(AssignBed(location_id="w1")).then_refused("cannot be assigned")
    given(service, REQUESTED, BED, ADMITTED).when(AssignBed(location_id="w1")).then_nothing()


def test_a_discharged_patient_cannot_be_moved() -> None:
    given(service, REQUESTED, ADMITTED, DISCHARGED).when(MoveWard(location_id="w2")).then_refused("discharged")


def test_a_patient_who_has_not_come_cannot_be_moved_or_treated() -> None:
    given(service, REQUESTED).when(MoveWard(location_id="w2")).then_refused("not been admitted")
    given(service, REQUESTED).when(START).then_refused("before the patient is admitted")


def test_a_move_to_where_the_patient_lies_is_nothing() -> None:
    given(service, REQUESTED, ADMITTED).when(MoveWard(location_id="w1"), MoveWard(location_id="")).then_nothing()


def test_admitting_again_is_nothing_new_even_after_discharge() -> None:
    given(service, REQUESTED, ADMITTED).when(AdmitPatient(location_id="w9")).then_nothing()
    given(service, REQUESTED, ADMITTED, DISCHARGED).when(AdmitPatient(location_id="w1")).then_nothing()


def test_an_admitted_patient_s_stay_cannot_be_cancelled() -> None:
    given(service, REQUESTED, ADMITTED).when(CancelTransfer()).then_refused("admitted already")


def test_a_cancelled_stay_is_not_taken_up_again() -> None:
    history = given(service, REQUESTED, CANCELLED)
    history.when(newer("planned")).then_refused("cannot be taken up again")
    history.when(AdmitPatient(location_id="w1")).then_refused("was cancelled")
    history.when(CancelTransfer()).then_nothing()
    history.when(newer("cancelled")).then(StayRevised(**STAY, resource=b"v2"))


def test_the_clinic_can_change_only_before_admission() -> None:
    other = newer("planned", clinic="mayo/onco")
    moved = StayRevised(stay_id="s1", clinic_id="mayo/onco", previous_clinic_id=REQUESTED.clinic_id, resource=b"v2")
    given(service, REQUESTED).when(other).then(moved)
    given(service, REQUESTED, ADMITTED).when(other).then_refused("request another transfer")


def test_a_stage_that_never_started_cannot_finish() -> None:
    given(service, REQUESTED, ADMITTED).when(FINISH).then_refused("never started")


def test_a_stage_given_up_before_it_began_is_nothing() -> None:
    given(service, REQUESTED, ADMITTED).when(replace(FINISH, outcome="cancelled")).then_nothing()


def test_a_stage_ends_once() -> None:
    history = given(service, REQUESTED, ADMITTED, STARTED, FINISHED)
    history.when(START, FINISH).then_nothing()
    history.when(replace(FINISH, outcome="failed")).then_refused("over already")


def test_a_stage_reported_late_is_recorded_after_discharge() -> None:
    given(service, REQUESTED, ADMITTED, DISCHARGED).when(START, FINISH).then(STARTED, FINISHED)


def test_a_stage_of_another_kind_of_encounter_is_not_for_this_service() -> None:
    given(service).when(START, FINISH).then_nothing()


@pytest.mark.parametrize("command", [AdmitPatient(location_id=""), MoveWard(location_id="w"), CancelTransfer()])
def test_nothing_happens_to_a_stay_that_is_not_known(command: object) -> None:
    given(service).when(command).then_refused("not known yet")


def test_nothing_happens_to_a_stay_entered_in_error() -> None:
    history = given(service, REQUESTED, IN_ERROR)
    history.when(AdmitPatient(location_id="w1")).then_refused("entered in error")
    history.when(newer("planned")).then_refused("entered in error")
    history.when(newer("entered-in-error"), EnterInError()).then_nothing()


def test_deleting_an_unknown_stay_is_nothing() -> None:
    given(service).when(EnterInError()).then_nothing()


def test_an_episode_is_recorded_version_by_version() -> None:
    later = replace(EPISODE, status="finished", resource=b"v2")
    given(service).when(
        RecordEpisode(episode=EPISODE), RecordEpisode(episode=EPISODE), RecordEpisode(episode=later)
    ).then(EPISODE, later)


def test_a_deleted_episode_was_entered_in_error_and_stays_so() -> None:
    gone = replace(EPISODE, status="entered-in-error", resource=b"")
    given(service, EPISODE).when(EnterInError(), EnterInError()).then(gone)
    given(service, EPISODE, gone).when(RecordEpisode(episode=EPISODE)).then_refused("entered in error")
