"""Reads commands off a FHIR ServiceRequest, and its progress off the Tasks that are about it.

https://hl7.org/fhir/R4/servicerequest.html, https://hl7.org/fhir/R4/task.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET

from epicrisis.decider import Inbound, Reader, To, operator_of
from epicrisis.fhir.values import absent, clinic_named, last_updated, moment, reference, text
from schemas.common import Coding
from services.referral.decider import (
    AcceptReferral,
    CancelReferral,
    Command,
    CompleteReferral,
    DeclineReferral,
    EnterReferralInError,
    RequestReferral,
    ScheduleReferral,
)

_NOT_SENT = frozenset(("draft", "revoked", "entered-in-error"))
"""Statuses under which nobody else needs to write about the patient."""


def service_request(inbound: Inbound) -> Sequence[To]:
    """Record the version, then what its status says has happened by now."""
    stream = inbound.stream
    resource = inbound.resource
    if inbound.method == "DELETE" or resource is None:
        return [To(stream=stream, command=EnterReferralInError())]
    status = "" if absent(resource.status) else resource.status
    request = _request(inbound, status)
    # A site may speak for its operator's other sites in a request of its own.
    by = request.from_clinic if operator_of(request.from_clinic) == inbound.operator else inbound.clinic
    elsewhere = request.to_clinic and operator_of(request.to_clinic) != inbound.operator and status not in _NOT_SENT
    commands = [
        To(
            stream=stream,
            command=request,
            effective=moment(resource.authoredOn),
            shared_with=request.to_clinic if elsewhere else None,
        )
    ]
    match status:
        case "completed":
            done = CompleteReferral(by=by, in_request=True)
            when = _done(resource, inbound.now) or last_updated(resource)
            commands.append(To(stream=stream, command=done, effective=when))
        case "revoked":
            cancel = CancelReferral(by=by, reason="")
            commands.append(To(stream=stream, command=cancel, effective=last_updated(resource)))
        case "entered-in-error":
            commands.append(To(stream=stream, command=EnterReferralInError(), effective=last_updated(resource)))
        case _:  # active, draft, on-hold and unknown: requested, and no more
            pass
    return commands


def task(inbound: Inbound) -> Sequence[To]:
    """Take the progress from a Task about a ServiceRequest; `chart` keeps the Task."""
    resource = inbound.resource
    if resource is None or inbound.method == "DELETE":
        return ()
    about = resource.focus
    if about is UNSET and resource.basedOn is not UNSET:
        about = resource.basedOn[0]
    found = reference(about)
    stream = inbound.resolve(found) if found else ""
    command = _progress(resource, inbound.clinic) if stream.startswith("ServiceRequest/") else None
    if command is None:
        return ()
    changed = moment(resource.lastModified) or moment(resource.authoredOn)
    if isinstance(command, CompleteReferral) and resource.executionPeriod is not UNSET:
        changed = moment(resource.executionPeriod.end) or changed
    return [To(stream=stream, command=command, effective=changed, keeps=False)]


def _progress(resource: Any, clinic: str) -> Command | None:
    match resource.status:
        case "accepted":
            return AcceptReferral(by=clinic)
        case "rejected":
            return DeclineReferral(by=clinic, reason=text(resource.statusReason) or "")
        case "ready":
            date = _start(resource.executionPeriod)
            if not date and resource.restriction is not UNSET:
                date = _start(resource.restriction.period)
            return ScheduleReferral(by=clinic, scheduled_for=date) if date else None
        case "completed":
            return CompleteReferral(by=clinic)
        case "cancelled":
            return CancelReferral(by=clinic, reason=text(resource.statusReason) or "")
        case _:  # requested, received, in-progress, …: nothing that either clinic decides about the referral
            return None


def _request(inbound: Inbound, status: str) -> RequestReferral:
    resource = inbound.resource
    reasons = () if resource.reasonReference is UNSET else resource.reasonReference
    rests_on = (inbound.resolve(found) for reason in reasons if (found := reference(reason)))
    condition = next((r for r in rests_on if r.startswith("Condition/")), "")
    return RequestReferral(
        referral_id=inbound.resource_id,
        by=inbound.clinic,
        from_clinic=clinic_named(resource.requester) or inbound.clinic,
        to_clinic=clinic_named(resource.performer[0]) if resource.performer is not UNSET else "",
        purpose=Coding.of(inbound.codes.concept(resource.code)),
        text=text(resource.code) or "",
        priority="" if absent(resource.priority) else resource.priority,
        condition_id=condition.removeprefix("Condition/"),
        withdrawn=status == "entered-in-error",
        resource=inbound.raw,
    )


def _start(period: Any) -> str:
    return "" if absent(period) or absent(period.start) else str(period.start)


def _done(resource: Any, now: datetime) -> datetime | None:
    """When a request that arrives completed was carried out, if its date has passed."""
    end = UNSET if absent(resource.occurrencePeriod) else resource.occurrencePeriod.end
    done = moment(resource.occurrenceDateTime) or moment(end)
    return done if done and done <= now else None


reads: Mapping[str, Reader] = {"ServiceRequest": service_request, "Task": task}
