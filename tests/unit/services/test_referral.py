"""Referral: given a history, when a command comes, then."""

from __future__ import annotations

import pytest

from epicrisis.event import replace
from epicrisis.testing import given
from schemas.common import Coding
from schemas.referral import (
    ReferralAccepted,
    ReferralCancelled,
    ReferralCompleted,
    ReferralDeclined,
    ReferralEnteredInError,
    ReferralRequested,
    ReferralRevised,
    ReferralScheduled,
)
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

GYN, ONCO, OTHER = "charite/gyn", "samsung/onco", "mayo/onco"
PURPOSE = Coding(system="http://snomed.info/sct", code="3457005", display="Patient referral")
REQUEST = RequestReferral(
    referral_id="r1",
    by=GYN,
    from_clinic=GYN,
    to_clinic=ONCO,
    purpose=PURPOSE,
    text="",
    priority="urgent",
    condition_id="c1",
    resource=b"v1",
)
REQUESTED = ReferralRequested(
    referral_id="r1",
    from_clinic=GYN,
    to_clinic=ONCO,
    purpose=PURPOSE,
    text="",
    priority="urgent",
    condition_id="c1",
    resource=b"v1",
)
OPEN = replace(REQUESTED, to_clinic="")
ACCEPTED = ReferralAccepted(referral_id="r1", from_clinic=GYN, to_clinic=ONCO)
DECLINED = ReferralDeclined(referral_id="r1", from_clinic=GYN, to_clinic=ONCO, reason="no bed")
SCHEDULED = ReferralScheduled(referral_id="r1", from_clinic=GYN, to_clinic=ONCO, scheduled_for="2026-03-01")
COMPLETED = ReferralCompleted(referral_id="r1", from_clinic=GYN, to_clinic=ONCO)
CANCELLED = ReferralCancelled(referral_id="r1", from_clinic=GYN, to_clinic=ONCO, reason="")
IN_ERROR = ReferralEnteredInError(referral_id="r1", from_clinic=GYN, to_clinic=ONCO)


def test_a_referral_is_requested() -> None:
    given(service).when(REQUEST).then(REQUESTED)


def test_the_same_request_again_is_nothing_new() -> None:
    given(service, REQUESTED).when(REQUEST).then_nothing()


def test_a_request_that_arrives_completed_tells_both() -> None:
    given(service).when(REQUEST, CompleteReferral(by=GYN, in_request=True)).then(REQUESTED, COMPLETED)


def test_the_whole_way() -> None:
    given(service, REQUESTED).when(
        AcceptReferral(by=ONCO),
        ScheduleReferral(by=ONCO, scheduled_for="2026-03-01"),
        CompleteReferral(by=ONCO),
    ).then(ACCEPTED, SCHEDULED, COMPLETED)


def test_only_the_receiving_clinic_accepts_declines_schedules_and_completes() -> None:
    history = given(service, REQUESTED)
    for by in (GYN, OTHER):
        history.when(AcceptReferral(by=by)).then_refused("only the clinic")
        history.when(DeclineReferral(by=by, reason="")).then_refused("only the clinic")
        history.when(ScheduleReferral(by=by, scheduled_for="2026-03-01")).then_refused("only the clinic")
        history.when(CompleteReferral(by=by)).then_refused("only the clinic")


def test_only_the_requesting_clinic_cancels() -> None:
    given(service, REQUESTED).when(CancelReferral(by=ONCO, reason="")).then_refused("only the clinic that sent")
    given(service, REQUESTED).when(CancelReferral(by=GYN, reason="")).then(CANCELLED)


def test_a_declined_referral_cannot_be_accepted_scheduled_or_completed() -> None:
    history = given(service, REQUESTED, DECLINED)
    history.when(AcceptReferral(by=ONCO)).then_refused("has been declined")
    history.when(ScheduleReferral(by=ONCO, scheduled_for="2026-03-01")).then_refused("has been declined")
    history.when(CompleteReferral(by=ONCO)).then_refused("has been declined")


def test_a_cancelled_referral_cannot_be_accepted() -> None:
    given(service, REQUESTED, CANCELLED).when(AcceptReferral(by=ONCO)).then_refused("has been cancelled")


def test_a_completed_referral_cannot_be_cancelled() -> None:
    given(service, REQUESTED, COMPLETED).when(CancelReferral(by=GYN, reason="")).then_refused("completed")


def test_an_accepted_referral_cannot_be_declined() -> None:
    given(service, REQUESTED, ACCEPTED).when(DeclineReferral(by=ONCO, reason="")).then_refused("accepted already")


@pytest.mark.parametrize("later", [[SCHEDULED], [SCHEDULED, COMPLETED], [COMPLETED]])
def test_accepting_again_what_went_on_is_nothing_new(later: list[object]) -> None:
    given(service, REQUESTED, ACCEPTED, *later).when(AcceptReferral(by=ONCO)).then_nothing()


def test_another_date_is_another_scheduling() -> None:
    history = given(service, REQUESTED, SCHEDULED)
    history.when(ScheduleReferral(by=ONCO, scheduled_for="2026-03-01")).then_nothing()
    history.when(ScheduleReferral(by=ONCO, scheduled_for="2026-03-08")).then(
        replace(SCHEDULED, scheduled_for="2026-03-08")
    )


def test_progress_of_an_unknown_referral_asks_for_the_request() -> None:
    given(service).when(AcceptReferral(by=ONCO)).then_refused("not known yet; send the ServiceRequest first")


def test_a_request_to_nobody_goes_to_whoever_takes_it() -> None:
    given(service, OPEN).when(AcceptReferral(by=ONCO)).then(ACCEPTED)
    given(service, OPEN, ACCEPTED).when(AcceptReferral(by=OTHER)).then_refused("only the clinic")
    given(service, OPEN).when(DeclineReferral(by=ONCO, reason="")).then_refused("addressed to nobody")


def test_a_revised_request_keeps_the_clinic_that_took_it() -> None:
    (revised,) = given(service, OPEN, ACCEPTED).when(replace(REQUEST, to_clinic="", resource=b"v2")).events
    assert isinstance(revised, ReferralRevised)
    assert revised.to_clinic == ONCO


def test_an_accepted_referral_cannot_be_sent_elsewhere() -> None:
    history = given(service, REQUESTED, ACCEPTED)
    history.when(replace(REQUEST, to_clinic=OTHER, resource=b"v2")).then_refused("has been accepted")


def test_a_third_operator_cannot_change_the_request() -> None:
    given(service, REQUESTED).when(replace(REQUEST, by=OTHER, resource=b"v2")).then_refused("can change it")


def test_nothing_happens_to_a_referral_entered_in_error() -> None:
    history = given(service, REQUESTED, IN_ERROR)
    history.when(AcceptReferral(by=ONCO)).then_refused("entered in error")
    history.when(replace(REQUEST, resource=b"v2")).then_refused("entered in error")
    history.when(replace(REQUEST, withdrawn=True, resource=b"v2"), EnterReferralInError()).then_nothing()


def test_deleting_an_unknown_referral_is_nothing() -> None:
    given(service).when(EnterReferralInError()).then_nothing()
