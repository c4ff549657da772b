"""Inpatient oncology: which commands an Encounter, an EpisodeOfCare or a Task means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from epicrisis.decider import Inbound, To
from schemas.common import Coding
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

Make = Callable[..., Inbound]
SNOMED = "http://snomed.info/sct"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CHEMO = Coding(system=SNOMED, code="367336001", display="")


def at(day: int) -> datetime:
    return datetime(2026, 2, day, tzinfo=UTC)


def clinic(name: str) -> dict[str, Any]:
    return {"identifier": {"system": "urn:epicrisis:clinic", "value": name}}


def place(ward: str, status: str, start: str = "2026-02-10") -> dict[str, Any]:
    return {"location": {"reference": f"Location/{ward}"}, "status": status, "period": {"start": start}}


STAY: dict[str, Any] = {
    "resourceType": "Encounter",
    "id": "s1",
    "status": "planned",
    "class": {"system": ACT, "code": "IMP"},
    "serviceType": {"coding": [{"system": SNOMED, "code": "394593009"}]},
    "subject": {"reference": "Patient/p1"},
    "serviceProvider": clinic("samsung/onco"),
    "basedOn": [{"reference": "ServiceRequest/r1"}],
    "diagnosis": [{"condition": {"reference": "Condition/c1"}}],
    "episodeOfCare": [{"reference": "EpisodeOfCare/e1"}],
    "period": {"start": "2026-02-10"},
    "location": [place("w1", "reserved")],
}
EPISODE: dict[str, Any] = {
    "resourceType": "EpisodeOfCare",
    "id": "e1",
    "status": "active",
    "type": [{"coding": [{"system": SNOMED, "code": "394592004"}]}],
    "patient": {"reference": "Patient/p1"},
    "diagnosis": [{"condition": {"reference": "Condition/c1"}}],
    "referralRequest": [{"reference": "ServiceRequest/r1"}],
    "managingOrganization": clinic("samsung/onco"),
    "period": {"start": "2026-02-01"},
}
TASK: dict[str, Any] = {
    "resourceType": "Task",
    "id": "t1",
    "status": "completed",
    "intent": "order",
    "code": {"coding": [{"system": SNOMED, "code": "367336001"}]},
    "focus": {"reference": "Encounter/s1"},
    "executionPeriod": {"start": "2026-02-11", "end": "2026-02-14"},
}


def then(made: Inbound) -> list[tuple[Any, datetime | None]]:
    return [(to.command, to.effective) for to in service.reads[made.resource_type](made)]


def test_a_planned_stay_asks_for_a_transfer_and_a_bed(inbound: Make) -> None:
    made = inbound(STAY)
    request, bed = service.reads["Encounter"](made)
    assert (request.stream, request.keeps, request.shared_with) == ("Encounter/s1", True, "samsung/onco")
    assert isinstance(request.command, RequestTransfer)
    transfer = request.command.transfer
    assert (transfer.clinic_id, transfer.from_clinic) == ("samsung/onco", "charite/gyn")
    assert (transfer.condition_id, transfer.referral_id, transfer.episode_id) == ("c1", "r1", "e1")
    assert transfer.resource == made.raw
    assert bed.command == AssignBed(location_id="w1")


def test_a_stay_in_the_sender_s_own_operator_needs_no_sharing(inbound: Make) -> None:
    made = inbound(STAY | {"serviceProvider": clinic("charite/onco")})
    assert service.reads["Encounter"](made)[0].shared_with is None


@pytest.mark.parametrize("status", ["arrived", "triaged", "in-progress", "onleave"])
def test_a_patient_in_the_house_is_admitted_to_the_active_ward(inbound: Make, status: str) -> None:
    places = [place("w1", "active", "2026-02-12"), place("w2", "completed")]
    _, *rest = then(inbound(STAY | {"status": status, "location": places}))
    assert rest == [(AdmitPatient(location_id="w1"), at(10)), (MoveWard(location_id="w1"), at(12))]


def test_a_finished_stay_is_an_admission_and_a_discharge(inbound: Make) -> None:
    finished = STAY | {
        "status": "finished",
        "period": {"start": "2026-02-10", "end": "2026-02-20"},
        "location": [place("w1", "completed"), place("w2", "completed")],
        "hospitalization": {"dischargeDisposition": {"coding": [{"code": "home"}]}},
    }
    _, *rest = then(inbound(finished))
    assert rest == [
        (AdmitPatient(location_id="w2"), at(10)),
        (DischargePatient(disposition=Coding(code="home")), at(20)),
    ]


def test_a_finished_stay_without_a_start_admits_nobody(inbound: Make) -> None:
    made = inbound({k: v for k, v in STAY.items() if k != "period"} | {"status": "finished"})
    assert [command for command, _ in then(made)][1:] == [DischargePatient(disposition=Coding())]


@pytest.mark.parametrize(("status", "command"), [("cancelled", CancelTransfer()), ("entered-in-error", EnterInError())])
def test_a_stay_that_does_not_take_place(inbound: Make, status: str, command: Any) -> None:
    first, *rest = service.reads["Encounter"](inbound(STAY | {"status": status}))
    assert first.shared_with is None
    assert [to.command for to in rest] == [command]


@pytest.mark.parametrize(
    "change",
    [
        {"class": {"system": ACT, "code": "AMB"}},
        {"serviceType": {"coding": [{"system": SNOMED, "code": "394594003"}]}},
        {"serviceType": {"text": "Oncology"}},
    ],
)
def test_other_encounters_are_not_for_this_service(inbound: Make, change: dict[str, Any]) -> None:
    assert then(inbound(STAY | change)) == []


def test_a_deleted_encounter_may_have_been_a_stay_and_is_kept_elsewhere(deleted: Make) -> None:
    assert list(service.reads["Encounter"](deleted("Encounter", "s1"))) == [
        To(stream="Encounter/s1", command=EnterInError(), keeps=False)
    ]


def test_an_encounter_in_error_that_lost_its_service_type_may_have_been_a_stay(inbound: Make) -> None:
    made = inbound({k: v for k, v in STAY.items() if k != "serviceType"} | {"status": "entered-in-error"})
    assert [(to.command, to.keeps) for to in service.reads["Encounter"](made)] == [(EnterInError(), False)]


def test_an_oncology_episode_is_recorded(inbound: Make) -> None:
    made = inbound(EPISODE)
    (to,) = service.reads["EpisodeOfCare"](made)
    assert (to.stream, to.effective) == ("EpisodeOfCare/e1", at(1))
    assert isinstance(to.command, RecordEpisode)
    episode = to.command.episode
    assert (episode.clinic_id, episode.status, episode.resource) == ("samsung/onco", "active", made.raw)
    assert (episode.condition_id, episode.referral_id) == ("c1", "r1")


def test_another_episode_is_not_for_this_service(inbound: Make) -> None:
    assert then(inbound({k: v for k, v in EPISODE.items() if k != "type"})) == []


def test_a_completed_task_started_and_finished_a_stage(inbound: Make) -> None:
    assert list(service.reads["Task"](inbound(TASK))) == [
        To(
            stream="Encounter/s1",
            command=StartStage(stage_id="t1", kind="chemotherapy", code=CHEMO),
            effective=at(11),
            keeps=False,
        ),
        To(
            stream="Encounter/s1",
            command=FinishStage(stage_id="t1", kind="chemotherapy", outcome="completed"),
            effective=at(14),
            keeps=False,
        ),
    ]


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        ("requested", []),
        ("in-progress", [StartStage]),
        ("failed", [StartStage, FinishStage]),
        ("cancelled", [FinishStage]),
    ],
)
def test_each_status_of_a_task(inbound: Make, status: str, kinds: list[type]) -> None:
    assert [type(command) for command, _ in then(inbound(TASK | {"status": status}))] == kinds


@pytest.mark.parametrize("change", [{"focus": {"reference": "ServiceRequest/r1"}}, {"code": {"text": "Chemotherapy"}}])
def test_other_tasks_are_not_for_this_service(inbound: Make, change: dict[str, Any]) -> None:
    assert then(inbound(TASK | change)) == []
