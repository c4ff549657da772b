"""Referral: one clinic asks another to see, treat or advise on a patient (FHIR ServiceRequest, Task for its progress).

Streams are ``ServiceRequest/<id>``. Every event names both clinics (``operator/site``), so that either side's worklist
can be kept without looking anything up. The Tasks that report progress are kept by ``chart``: here they are facts.
``to_clinic`` is empty while a request is addressed to nobody.
"""

from __future__ import annotations

from epicrisis.event import event
from schemas.common import Coding


@event(version=2)
class ReferralRequested:
    """A clinic asks for a service. ``purpose`` is what for; ``condition_id`` the diagnosis it rests on, or empty."""

    referral_id: str
    from_clinic: str
    to_clinic: str
    purpose: Coding
    text: str
    priority: str
    condition_id: str
    resource: bytes


@event(version=2)
class ReferralRevised:
    """The request was sent again with other content. ``previous_to_clinic`` is where it went before, or empty."""

    referral_id: str
    from_clinic: str
    to_clinic: str
    previous_to_clinic: str = ""
    purpose: Coding
    text: str
    priority: str
    condition_id: str
    resource: bytes


@event(version=1)
class ReferralAccepted:
    """The clinic it was sent to takes the patient."""

    referral_id: str
    from_clinic: str
    to_clinic: str


@event(version=1)
class ReferralDeclined:
    """The clinic it was sent to does not take the patient, with its reason."""

    referral_id: str
    from_clinic: str
    to_clinic: str
    reason: str


@event(version=1)
class ReferralScheduled:
    """A date was set. ``scheduled_for`` is a FHIR dateTime."""

    referral_id: str
    from_clinic: str
    to_clinic: str
    scheduled_for: str


@event(version=1)
class ReferralCompleted:
    """What was asked for has been done."""

    referral_id: str
    from_clinic: str
    to_clinic: str


@event(version=1)
class ReferralCancelled:
    """The request was withdrawn."""

    referral_id: str
    from_clinic: str
    to_clinic: str
    reason: str


@event(version=1)
class ReferralEnteredInError:
    """The request was a mistake."""

    referral_id: str
    from_clinic: str
    to_clinic: str
