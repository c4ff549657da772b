"""The oncology pathway and the promise."""

from __future__ import annotations

import pytest

from projections.cluster_oncology_pathway import Pathway, projection
from schemas.diagnosis import DiagnosisEnteredInError, DiagnosisRefuted, DiagnosisStaged
from schemas.referral import ReferralAccepted, ReferralCancelled
from tests.unit.projections.history import (
    BREAST,
    COUGH,
    ONCO,
    OTHER,
    Happened,
    admission,
    at,
    between,
    confirmed,
    diagnosis,
    happened,
    id_,
    observation,
    requested,
    revised,
    row,
    rows,
    stage_started,
    transfer,
)


def pathway(*events: Happened) -> Pathway:
    found: Pathway = row(projection, *events)
    return found


REFUTED = DiagnosisRefuted(condition_id=id_(1), code=BREAST, group="oncology")


def test_the_whole_way_in_order() -> None:
    staged = DiagnosisStaged(
        condition_id=id_(1), code=BREAST, group="oncology", stage_group="IIA", t="T2", n="N0", m="M0", basis=""
    )
    found = pathway(
        happened(diagnosis()),
        happened(confirmed(), 30),
        happened(staged, 31),
        happened(requested(), 36.5),
        happened(ReferralAccepted(**between()), 40, clinic=ONCO),
        happened(transfer(), 41, clinic=ONCO),
        happened(admission(), 60, clinic=ONCO),
        happened(stage_started("rehabilitation", 30), 61, clinic=ONCO),
        happened(stage_started(), 80, clinic=ONCO),
    )
    assert (found.status, found.code, found.display) == ("confirmed", BREAST.token, "Breast cancer")
    assert (found.suspected_at, found.confirmed_at, found.referred_at) == (at(0), at(30), at(36.5))
    assert (found.accepted_at, found.admitted_at, found.first_treatment_at) == (at(40), at(60), at(80))
    assert (found.stage_group, found.hours_to_diagnosis, found.hours_to_referral) == ("IIA", 30, 6.5)
    assert (found.promise_kept, found.due_at) == (True, None)


@pytest.mark.parametrize(
    ("confirmed_after", "referred_after", "kept", "due"),
    [
        (None, None, None, 48),  # no answer yet: it can still be kept
        (48, None, None, 72),
        (48, 72, True, None),
        (48, 72.5, False, None),
        (48.5, None, False, None),  # whatever comes now, two days are over
        (48.5, 49, False, None),
        (10, 5, True, None),  # sent on suspicion already
        (None, 5, None, 48),
    ],
)
def test_the_promise(
    confirmed_after: float | None, referred_after: float | None, kept: bool | None, due: float | None
) -> None:
    events = [happened(diagnosis())]
    if confirmed_after is not None:
        events.append(happened(confirmed(), confirmed_after))
    if referred_after is not None:
        events.append(happened(requested(), referred_after))
    found = pathway(*events)
    assert (found.promise_kept, found.due_at) == (kept, None if due is None else at(due))


@pytest.mark.parametrize(("hours", "kept"), [(47, True), (49, False)])
def test_ruling_it_out_in_time_keeps_the_promise(hours: float, kept: bool) -> None:
    found = pathway(happened(diagnosis()), happened(REFUTED, hours))
    assert (found.status, found.refuted_at, found.hours_to_diagnosis) == ("refuted", at(hours), hours)
    assert (found.promise_kept, found.due_at) == (kept, None)


def test_other_diagnoses_and_the_chart_leave_no_row() -> None:
    other = diagnosis(group="other", code=COUGH)
    assert rows(projection, happened(other), happened(revised(group="other")), happened(observation())) == []


def test_a_referral_alone_is_kept_but_is_no_pathway() -> None:
    found = pathway(happened(requested()))
    assert (found.status, found.suspected_at, found.referred_at) == ("", None, None)


def test_a_diagnosis_by_mistake_or_of_another_kind_ends_the_pathway() -> None:
    mistake = DiagnosisEnteredInError(condition_id=id_(1), code=BREAST, group="oncology")
    assert pathway(happened(diagnosis()), happened(mistake)).status == ""
    assert pathway(happened(diagnosis()), happened(revised(group="other", code=COUGH))).status == ""


def test_what_holds_leads_before_what_was_ruled_out() -> None:
    found = pathway(happened(diagnosis()), happened(REFUTED, 10), happened(diagnosis(2), 1000))
    assert (found.status, found.suspected_at) == ("suspected", at(1000))


def test_a_suspicion_of_another_clinic_is_where_the_same_disease_began() -> None:
    found = pathway(
        happened(diagnosis()), happened(diagnosis(2), 20, clinic=ONCO), happened(confirmed(2), 30, clinic=ONCO)
    )
    assert (found.suspected_at, found.confirmed_at, found.hours_to_diagnosis) == (at(0), at(30), 30)


def test_an_old_suspicion_is_another_disease() -> None:
    later = 24 * 91
    found = pathway(happened(diagnosis()), happened(diagnosis(2), later), happened(confirmed(2), later + 5))
    assert (found.suspected_at, found.hours_to_diagnosis) == (at(later), 5)


def test_the_referral_that_led_to_the_stay_counts_not_the_one_for_advice() -> None:
    found = pathway(
        happened(diagnosis()),
        happened(requested(12, to=OTHER), 1),
        happened(confirmed(), 20),
        happened(requested(), 30),
        happened(transfer(), 31),
    )
    assert found.referred_at == at(30)


def test_a_withdrawn_referral_does_not_count() -> None:
    withdrawn = ReferralCancelled(**between(), reason="")
    found = pathway(happened(diagnosis()), happened(requested(), 1), happened(withdrawn, 2))
    assert found.referred_at is None


def test_a_clinic_with_a_ward_of_its_own_sends_without_a_referral() -> None:
    found = pathway(happened(diagnosis()), happened(confirmed(), 5), happened(transfer(referral=""), 6))
    assert (found.referred_at, found.promise_kept) == (at(6), True)


def test_a_referral_for_something_else_is_not_of_the_pathway() -> None:
    found = pathway(happened(diagnosis()), happened(requested(condition=id_(77)), 1))
    assert found.referred_at is None
