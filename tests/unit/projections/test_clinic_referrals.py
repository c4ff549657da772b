"""The worklist of referrals."""

from __future__ import annotations

from projections.clinic_referrals import Referral, projection
from schemas.referral import (
    ReferralAccepted,
    ReferralCancelled,
    ReferralCompleted,
    ReferralDeclined,
    ReferralEnteredInError,
    ReferralScheduled,
)
from tests.unit.projections.history import (
    GP,
    ONCO,
    OTHER,
    Happened,
    at,
    between,
    happened,
    id_,
    readdressed,
    requested,
    row,
    rows,
)

ACCEPTED = ReferralAccepted(**between())


def sides(*events: Happened) -> dict[str, Referral]:
    return {found.clinic_id: found for found in rows(projection, *events)}


def test_both_clinics_see_a_referral_each_from_its_side() -> None:
    found = sides(happened(requested()))
    assert {clinic: side.direction for clinic, side in found.items()} == {GP: "out", ONCO: "in"}
    for side in found.values():
        assert (side.status, side.requested_at, side.condition_id) == ("requested", at(0), id_(1))
        assert (side.purpose, side.purpose_code) == ("Medical oncology", "http://snomed.info/sct|394593009")


def test_a_clinic_that_asks_itself_has_one_row() -> None:
    assert row(projection, happened(requested(to=GP))).direction == "internal"


def test_progress_reaches_both_sides() -> None:
    found = sides(
        happened(requested()),
        happened(ACCEPTED, 5),
        happened(ReferralScheduled(**between(), scheduled_for="2026-04-02"), 6),
        happened(ReferralCompleted(**between()), 90),
    )
    for side in found.values():
        assert (side.status, side.accepted_at, side.completed_at) == ("completed", at(5), at(90))
        assert (side.scheduled_for, side.updated) == ("2026-04-02", at(90))


def test_a_refusal_and_a_withdrawal_have_a_reason() -> None:
    declined = sides(happened(requested()), happened(ReferralDeclined(**between(), reason="no bed"), 1))[GP]
    assert (declined.status, declined.declined_at, declined.reason) == ("declined", at(1), "no bed")
    cancelled = sides(happened(requested()), happened(ReferralCancelled(**between(), reason="died"), 2))[ONCO]
    assert (cancelled.status, cancelled.cancelled_at, cancelled.reason) == ("cancelled", at(2), "died")


def test_a_readdressed_referral_leaves_the_former_receivers_list() -> None:
    found = sides(happened(requested(to=OTHER)), happened(readdressed(to=ONCO, before=OTHER), 3))
    assert set(found) == {GP, ONCO}
    assert (found[ONCO].requested_at, found[GP].requested_at, found[GP].to_clinic) == (at(3), at(0), ONCO)


def test_a_revision_keeps_the_progress() -> None:
    found = sides(happened(requested()), happened(ACCEPTED, 1), happened(readdressed(to=ONCO, before=""), 2))
    assert {side.status for side in found.values()} == {"accepted"}


def test_whoever_takes_a_request_addressed_to_nobody_has_it_on_the_list() -> None:
    found = sides(happened(requested(to="")), happened(ACCEPTED, 4))
    assert (found[ONCO].direction, found[ONCO].status, found[ONCO].requested_at) == ("in", "accepted", None)
    assert (found[GP].to_clinic, found[GP].status, found[GP].requested_at) == (ONCO, "accepted", at(0))


def test_a_referral_by_mistake_is_on_no_list() -> None:
    assert sides(happened(requested()), happened(ReferralEnteredInError(**between()))) == {}
