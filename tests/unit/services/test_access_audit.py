"""The decider of access audit: an access is recorded once, a glass is broken for a time, ended, and reviewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from epicrisis.event import replace
from epicrisis.testing import given
from schemas.access_audit import AccessRecorded, BreakGlassEnded, BreakGlassReviewed, BreakGlassStarted
from services.access_audit import service
from services.access_audit.decider import EndBreakGlass, RecordAccess, ReviewBreakGlass, StartBreakGlass

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
ACCESS = AccessRecorded(
    interaction="read",
    action="R",
    outcome="0",
    status=200,
    client="his",
    user="",
    purpose="",
    reason="",
    break_glass_id="",
    request_id="r",
    resource_type="Patient",
    patient=True,
    delivered=(),
    resource=b"{}",
)
STARTED = BreakGlassStarted(
    break_glass_id="b", client="his", user="ada", purpose="BTG", reason="unconscious", until=NOW + HOUR, resource=b"{}"
)
ENDED = BreakGlassEnded(break_glass_id="b", by="ada", over=False, resource=b"{}")
REVIEWED = BreakGlassReviewed(break_glass_id="b", by="ben", justified=True, note="seen", resource=b"{}")


def review(at: datetime, by: str = "ben") -> ReviewBreakGlass:
    return ReviewBreakGlass(review=replace(REVIEWED, by=by), end=replace(ENDED, by=""), now=at)


def test_an_access_is_recorded_once() -> None:
    given(service).when(RecordAccess(access=ACCESS)).then(ACCESS)
    given(service, ACCESS).when(RecordAccess(access=ACCESS)).then_nothing()


def test_a_glass_is_broken_with_a_purpose_a_reason_and_for_four_hours_at_most() -> None:
    for until in (NOW + HOUR, NOW + 4 * HOUR):
        start = replace(STARTED, until=until)
        given(service).when(StartBreakGlass(start=start, now=NOW)).then(start)
    given(service, STARTED).when(StartBreakGlass(start=STARTED, now=NOW)).then_nothing()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"purpose": "TREAT"}, "BTG or ETREAT"),
        ({"reason": "  "}, "say why"),
        ({"until": NOW + 4 * HOUR + timedelta(seconds=1)}, "at most 4 hours"),
        ({"until": NOW}, "from now on"),
    ],
)
def test_a_glass_is_not_broken_otherwise(changes: dict[str, object], words: str) -> None:
    given(service).when(StartBreakGlass(start=replace(STARTED, **changes), now=NOW)).then_refused(words)


def test_a_glass_is_ended_once_and_it_is_said_whether_its_time_was_over() -> None:
    given(service, STARTED).when(EndBreakGlass(end=ENDED, now=NOW)).then(ENDED)
    given(service, STARTED).when(EndBreakGlass(end=ENDED, now=NOW + HOUR)).then(replace(ENDED, over=True))
    given(service, STARTED, ENDED).when(EndBreakGlass(end=ENDED, now=NOW)).then_nothing()
    given(service).when(EndBreakGlass(end=ENDED, now=NOW)).then_refused("no such break-glass")


def test_what_is_still_broken_cannot_be_reviewed() -> None:
    given(service, STARTED).when(review(NOW)).then_refused("still broken")
    given(service, STARTED, ENDED).when(review(NOW)).then(REVIEWED)


def test_a_glass_whose_time_is_over_ends_with_its_review() -> None:
    over = replace(ENDED, by="", over=True)
    given(service, STARTED).when(review(NOW + HOUR)).then(over, REVIEWED)
    given(service, STARTED, over, REVIEWED).when(review(NOW + HOUR)).then_nothing()


@pytest.mark.parametrize("by", ["his", "ada", ""])
def test_nobody_reviews_a_glass_of_their_own(by: str) -> None:
    given(service, STARTED, ENDED).when(review(NOW, by)).then_refused("somebody else")


def test_an_access_is_no_break_glass() -> None:
    given(service, ACCESS).when(EndBreakGlass(end=ENDED, now=NOW)).then_refused("no such break-glass")
