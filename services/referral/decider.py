"""What may happen to a referral, and which of the two clinics may say so.

requested → accepted → scheduled → completed; declined by the one clinic, cancelled by the other. Accepting may be left
out: a clinic that sets a date, or reports the work done, has accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, assert_never

from epicrisis.decider import digest, operator_of
from epicrisis.errors import Refused
from epicrisis.event import record, replace
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


@record
class RequestReferral:
    """The request as sent by the clinic ``by``. ``withdrawn``: this version says that it was a mistake."""

    referral_id: str
    by: str
    from_clinic: str
    to_clinic: str
    purpose: Coding
    text: str
    priority: str
    condition_id: str
    withdrawn: bool = False
    resource: bytes


@record
class AcceptReferral:
    """The clinic ``by`` takes the patient."""

    by: str


@record
class DeclineReferral:
    """The clinic ``by`` does not take the patient."""

    by: str
    reason: str


@record
class ScheduleReferral:
    """The clinic ``by`` set a date, a FHIR dateTime."""

    by: str
    scheduled_for: str


@record
class CompleteReferral:
    """What was asked for has been done. ``in_request``: the request itself says so, which its owner may."""

    by: str
    in_request: bool = False


@record
class CancelReferral:
    """The clinic ``by`` withdraws its request."""

    by: str
    reason: str


@record
class EnterReferralInError:
    """The request was a mistake."""


Command: TypeAlias = (
    RequestReferral
    | AcceptReferral
    | DeclineReferral
    | ScheduleReferral
    | CompleteReferral
    | CancelReferral
    | EnterReferralInError
)
Event: TypeAlias = (
    ReferralRequested
    | ReferralRevised
    | ReferralAccepted
    | ReferralDeclined
    | ReferralScheduled
    | ReferralCompleted
    | ReferralCancelled
    | ReferralEnteredInError
)
Status: TypeAlias = Literal["requested", "accepted", "declined", "scheduled", "completed", "cancelled", "in error"]


@record
class State:
    """What later decisions need to know. ``to_clinic`` is empty while the request is addressed to nobody."""

    referral_id: str
    from_clinic: str
    to_clinic: str
    digest: bytes
    status: Status = "requested"
    scheduled_for: str = ""


def initial() -> State | None:
    """Nobody asked yet."""
    return None


def decide(command: Command, state: State | None) -> Sequence[Event]:
    """What happens, or `Refused`."""
    if isinstance(command, RequestReferral):
        return _request(command, state)
    if isinstance(command, EnterReferralInError):
        if state is None or state.status == "in error":
            return []
        return [ReferralEnteredInError(**_who(state))]
    if state is None:
        raise Refused("the referral is not known yet; send the ServiceRequest first")
    if state.status == "in error":
        raise Refused("the referral was entered in error: nothing more can happen to it; send a new one")
    match command:
        case AcceptReferral(by=by):
            _only_receiver(state, by, "accept")
            if state.status in ("accepted", "scheduled", "completed"):
                return []
            _not_over(state, "accepted")
            return [ReferralAccepted(**_who(state, by))]
        case DeclineReferral(by=by, reason=reason):
            _only_receiver(state, by, "decline")
            if state.status == "declined":
                return []
            if not state.to_clinic:
                raise Refused("the referral is addressed to nobody: leave it to others, or accept it")
            if state.status in ("accepted", "scheduled"):
                raise Refused("the referral has been accepted already: ask the clinic that sent it to cancel it")
            _not_over(state, "declined")
            return [ReferralDeclined(**_who(state), reason=reason)]
        case ScheduleReferral(by=by, scheduled_for=date):
            _only_receiver(state, by, "set a date for")
            if state.status == "completed" or (state.status == "scheduled" and state.scheduled_for == date):
                return []
            _not_over(state, "scheduled")
            return [ReferralScheduled(**_who(state, by), scheduled_for=date)]
        case CompleteReferral(by=by, in_request=in_request):
            if not in_request or by != state.from_clinic:
                _only_receiver(state, by, "complete")
            if state.status == "completed":
                return []
            _not_over(state, "completed")
            return [ReferralCompleted(**_who(state, "" if in_request else by))]
        case CancelReferral(by=by, reason=reason):
            if by != state.from_clinic:
                raise Refused("only the clinic that sent the referral can cancel it; the other one declines it")
            if state.status == "cancelled":
                return []
            if state.status == "completed":
                raise Refused("the referral has been completed and cannot be cancelled any more")
            return [ReferralCancelled(**_who(state), reason=reason)]
        case _:
            assert_never(command)


def _request(command: RequestReferral, state: State | None) -> Sequence[Event]:
    if state is None:
        return [
            ReferralRequested(
                referral_id=command.referral_id,
                from_clinic=command.from_clinic,
                to_clinic=command.to_clinic,
                purpose=command.purpose,
                text=command.text,
                priority=command.priority,
                condition_id=command.condition_id,
                resource=command.resource,
            )
        ]
    if state.digest == digest(command.resource):
        return []
    if state.status == "in error":
        if command.withdrawn:
            return []
        raise Refused("the referral was entered in error and cannot be changed: send a new one")
    if operator_of(command.by) not in (operator_of(state.from_clinic), operator_of(state.to_clinic)):
        raise Refused("only the clinic that sent the referral can change it")
    to_clinic = command.to_clinic or state.to_clinic
    if to_clinic != state.to_clinic and state.status != "requested":
        raise Refused(f"the referral has been {state.status}: send a new one to the other clinic")
    return [
        ReferralRevised(
            referral_id=state.referral_id,
            from_clinic=state.from_clinic,
            to_clinic=to_clinic,
            previous_to_clinic=state.to_clinic if state.to_clinic != to_clinic else "",
            purpose=command.purpose,
            text=command.text,
            priority=command.priority,
            condition_id=command.condition_id,
            resource=command.resource,
        )
    ]


def _who(state: State, receiver: str = "") -> dict[str, str]:
    """What every event says: which referral, between which clinics."""
    return {
        "referral_id": state.referral_id,
        "from_clinic": state.from_clinic,
        "to_clinic": state.to_clinic or receiver,
    }


def _only_receiver(state: State, by: str, verb: str) -> None:
    """A request that is addressed to nobody is for whoever takes it."""
    if state.to_clinic and by != state.to_clinic:
        raise Refused(f"only the clinic that the referral was sent to can {verb} it")


def _not_over(state: State, wanted: str) -> None:
    if state.status in ("declined", "cancelled", "completed"):
        raise Refused(f"the referral has been {state.status} and cannot be {wanted} any more: send a new one")


def evolve(state: State | None, event: Event) -> State:
    """The state after an event."""
    match event:
        case ReferralRequested():
            return State(
                referral_id=event.referral_id,
                from_clinic=event.from_clinic,
                to_clinic=event.to_clinic,
                digest=digest(event.resource),
            )
        case ReferralRevised(to_clinic=to_clinic, resource=resource):
            return replace(_known(state), to_clinic=to_clinic, digest=digest(resource))
        case ReferralAccepted(to_clinic=to_clinic):
            return replace(_known(state), to_clinic=to_clinic, status="accepted")
        case ReferralDeclined():
            return replace(_known(state), status="declined")
        case ReferralScheduled(to_clinic=to_clinic, scheduled_for=date):
            return replace(_known(state), to_clinic=to_clinic, status="scheduled", scheduled_for=date)
        case ReferralCompleted(to_clinic=to_clinic):
            return replace(_known(state), to_clinic=to_clinic, status="completed")
        case ReferralCancelled():
            return replace(_known(state), status="cancelled")
        case ReferralEnteredInError():
            return replace(_known(state), status="in error")
        case _:
            assert_never(event)


def _known(state: State | None) -> State:
    assert state is not None, "a stream starts with ReferralRequested"
    return state
