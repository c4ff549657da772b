"""Referral: which commands a ServiceRequest, or a Task about one, means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from epicrisis.decider import Inbound, To
from services.referral import service
from services.referral.decider import (
    AcceptReferral,
    CancelReferral,
    CompleteReferral,
    DeclineReferral,
    EnterReferralInError,
    RequestReferral,
    ScheduleReferral,
)

Make = Callable[..., Inbound]


def clinic(name: str) -> dict[str, Any]:
    return {"identifier": {"system": "urn:epicrisis:clinic", "value": name}, "display": name}


REQUEST: dict[str, Any] = {
    "resourceType": "ServiceRequest",
    "id": "r1",
    "status": "active",
    "intent": "order",
    "priority": "urgent",
    "code": {"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}], "text": "Second opinion"},
    "subject": {"reference": "Patient/p1"},
    "authoredOn": "2026-02-01",
    "requester": clinic("charite/gyn"),
    "performer": [clinic("samsung/onco")],
    "reasonReference": [{"reference": "urn:uuid:00000000-0000-4000-8000-0000000000c1"}],
}
TASK: dict[str, Any] = {
    "resourceType": "Task",
    "id": "t1",
    "status": "accepted",
    "intent": "order",
    "focus": {"reference": "ServiceRequest/r1"},
    "for": {"reference": "Patient/p1"},
    "lastModified": "2026-02-03T08:00:00Z",
}


def commands(made: Inbound) -> list[Any]:
    return [to.command for to in service.reads[made.resource_type](made)]


def test_a_request_names_both_clinics_what_for_and_the_diagnosis(inbound: Make) -> None:
    made = inbound(REQUEST, resolve={"urn:uuid:00000000-0000-4000-8000-0000000000c1": "Condition/c1"})
    (to,) = service.reads["ServiceRequest"](made)
    assert (to.stream, to.effective) == ("ServiceRequest/r1", datetime(2026, 2, 1, tzinfo=UTC))
    request = to.command
    assert isinstance(request, RequestReferral)
    assert (request.from_clinic, request.to_clinic) == ("charite/gyn", "samsung/onco")
    assert (request.text, request.priority, request.condition_id) == ("Second opinion", "urgent", "c1")
    assert request.resource == made.raw


def test_a_request_to_another_operator_shares_the_patient(inbound: Make) -> None:
    assert service.reads["ServiceRequest"](inbound(REQUEST))[0].shared_with == "samsung/onco"
    at_home = REQUEST | {"performer": [clinic("charite/onco")]}
    assert service.reads["ServiceRequest"](inbound(at_home))[0].shared_with is None
    draft = REQUEST | {"status": "draft"}
    assert service.reads["ServiceRequest"](inbound(draft))[0].shared_with is None


def test_without_a_requester_the_sender_asks(inbound: Make) -> None:
    (request,) = commands(inbound({k: v for k, v in REQUEST.items() if k not in ("requester", "performer")}))
    assert (request.from_clinic, request.to_clinic) == ("charite/gyn", "")


@pytest.mark.parametrize(
    ("status", "then"),
    [
        ("draft", []),
        ("on-hold", []),
        ("unknown", []),
        ("completed", [CompleteReferral(by="charite/gyn", in_request=True)]),
        ("revoked", [CancelReferral(by="charite/gyn", reason="")]),
        ("entered-in-error", [EnterReferralInError()]),
    ],
)
def test_the_status_says_what_has_happened_by_now(inbound: Make, status: str, then: list[Any]) -> None:
    first, *rest = commands(inbound(REQUEST | {"status": status}))
    assert isinstance(first, RequestReferral)
    assert rest == then


def test_delete_means_entered_in_error(deleted: Make) -> None:
    assert commands(deleted("ServiceRequest", "r1")) == [EnterReferralInError()]


def test_a_task_is_progress_of_the_sender_and_is_kept_elsewhere(inbound: Make) -> None:
    made = inbound(TASK, clinic="samsung/onco", operator="samsung")
    assert list(service.reads["Task"](made)) == [
        To(
            stream="ServiceRequest/r1",
            command=AcceptReferral(by="samsung/onco"),
            effective=datetime(2026, 2, 3, 8, tzinfo=UTC),
            keeps=False,
        )
    ]


@pytest.mark.parametrize(
    ("change", "command"),
    [
        (
            {"status": "rejected", "statusReason": {"text": "no bed"}},
            DeclineReferral(by="charite/gyn", reason="no bed"),
        ),
        (
            {"status": "ready", "executionPeriod": {"start": "2026-03-01"}},
            ScheduleReferral(by="charite/gyn", scheduled_for="2026-03-01"),
        ),
        (
            {"status": "ready", "restriction": {"period": {"start": "2026-03-02"}}},
            ScheduleReferral(by="charite/gyn", scheduled_for="2026-03-02"),
        ),
        ({"status": "completed"}, CompleteReferral(by="charite/gyn")),
        ({"status": "cancelled"}, CancelReferral(by="charite/gyn", reason="")),
    ],
)
def test_each_status_of_a_task(inbound: Make, change: dict[str, Any], command: Any) -> None:
    assert commands(inbound(TASK | change)) == [command]


@pytest.mark.parametrize(
    "change",
    [
        {"status": "requested"},
        {"status": "in-progress"},
        {"status": "ready"},
        {"focus": {"reference": "Encounter/e1"}, "basedOn": [{"reference": "ServiceRequest/r1"}]},
        {"focus": {"display": "something"}},
    ],
)
def test_other_tasks_are_no_event_of_the_referral(inbound: Make, change: dict[str, Any]) -> None:
    assert commands(inbound(TASK | change)) == []


def test_a_task_without_focus_is_about_what_it_is_based_on(inbound: Make) -> None:
    based = {k: v for k, v in TASK.items() if k != "focus"} | {
        "basedOn": [{"reference": "urn:uuid:00000000-0000-4000-8000-0000000000a1"}]
    }
    made = inbound(based, resolve={"urn:uuid:00000000-0000-4000-8000-0000000000a1": "ServiceRequest/r1"})
    assert [to.stream for to in service.reads["Task"](made)] == ["ServiceRequest/r1"]


def test_a_deleted_task_is_not_for_this_service(deleted: Make) -> None:
    assert commands(deleted("Task", "t1")) == []
