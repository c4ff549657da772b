"""What may happen to an access, which is simply recorded; and to a break-glass: started → ended → reviewed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from epicrisis.errors import Refused
from epicrisis.event import record, replace
from schemas.access_audit import AccessRecorded, BreakGlassEnded, BreakGlassReviewed, BreakGlassStarted

PURPOSES = ("BTG", "ETREAT")
"""Break the glass, emergency treatment: of http://terminology.hl7.org/CodeSystem/v3-ActReason."""
LONGEST = timedelta(hours=4)


@record
class RecordAccess:
    """It happened, or is about to: what leaves must be recorded first."""

    access: AccessRecorded


@record
class StartBreakGlass:
    """Open one patient's record to a client."""

    start: BreakGlassStarted
    now: datetime


@record
class EndBreakGlass:
    """Close it again. ``end.over`` is decided here."""

    end: BreakGlassEnded
    now: datetime


@record
class ReviewBreakGlass:
    """Somebody looked at it. ``end`` is what is recorded where it ended by itself and nobody has noticed yet."""

    review: BreakGlassReviewed
    end: BreakGlassEnded
    now: datetime


Command: TypeAlias = RecordAccess | StartBreakGlass | EndBreakGlass | ReviewBreakGlass
Event: TypeAlias = AccessRecorded | BreakGlassStarted | BreakGlassEnded | BreakGlassReviewed


@record
class State:
    """Of a break-glass: whose it is and how long; of an access: that it is recorded."""

    client: str = ""
    user: str = ""
    purpose: str = ""
    until: datetime | None = None
    ended: bool = False
    reviewed: bool = False


def initial() -> State | None:
    """Nothing has happened."""
    return None


def decide(command: Command, state: State | None) -> Sequence[Event]:
    """What happens, or `Refused`."""
    match command:
        case RecordAccess(access=access):
            return [access] if state is None else []
        case StartBreakGlass(start=start, now=now):
            return _start(start, now) if state is None else []
        case EndBreakGlass(end=end, now=now):
            known = _started(state)
            return [] if known.ended else [replace(end, over=_over(known, now))]
        case ReviewBreakGlass():
            return _review(command, _started(state))
        case _:
            assert_never(command)


def _start(start: BreakGlassStarted, now: datetime) -> Sequence[Event]:
    if start.purpose not in PURPOSES:
        raise Refused(f"a glass is broken for {' or '.join(PURPOSES)}: name one as the purpose of use")
    if not start.reason.strip():
        raise Refused("say why the glass is broken: it will be reviewed")
    if not now < start.until <= now + LONGEST:
        raise Refused(f"a glass is broken for at most {LONGEST.total_seconds() / 3600:.0f} hours, from now on")
    return [start]


def _review(command: ReviewBreakGlass, state: State) -> Sequence[Event]:
    review, end = command.review, command.end
    if state.reviewed:
        return []
    if not review.by.strip() or review.by in (state.client, state.user):
        raise Refused("somebody else than who broke the glass reviews it: say who")
    if state.ended:
        return [review]
    if not _over(state, command.now):
        raise Refused("this glass is still broken: end it first, or wait until its time is over")
    return [replace(end, over=True), review]


def _started(state: State | None) -> State:
    if state is None or state.until is None:
        raise Refused("there is no such break-glass: `epicrisis break-glass list` shows them")
    return state


def _over(state: State, now: datetime) -> bool:
    return state.until is not None and now >= state.until


def evolve(state: State | None, event: Event) -> State:
    """The state after an event."""
    known = state or State()
    match event:
        case AccessRecorded():
            return known
        case BreakGlassStarted(client=client, user=user, purpose=purpose, until=until):
            return replace(known, client=client, user=user, purpose=purpose, until=until)
        case BreakGlassEnded():
            return replace(known, ended=True)
        case BreakGlassReviewed():
            return replace(known, reviewed=True)
        case _:
            assert_never(event)
