"""Access audit: who looked at a patient's record, changed it or was refused; and break-glass.

An access's stream is ``AuditEvent/<id of the event>``, of the patient whose data left. What concerns no patient belongs
to a subject of the caller's own. A break-glass is a stream of the patient, ``BreakGlass/<id>``. ``resource`` is the
AuditEvent, in the shapes of IHE BALP.
"""

from __future__ import annotations

from datetime import datetime

from epicrisis.event import event, value


@value
class Delivered:
    """Which events of the patient left, by the service that they come from: their numbers, as ``1-57,60``."""

    source: str
    seqs: str


@event(version=1)
class AccessRecorded:
    """Somebody was given a patient's data, changed them, or was refused.

    ``interaction`` is FHIR's (``read``, ``search-type``, ``$everything``) or a command's name; ``action`` one of C, R,
    U, D and E; ``outcome`` of https://hl7.org/fhir/R4/valueset-audit-event-outcome.html; ``status`` that of HTTP, 0
    where there was none. ``client`` and ``user``: whose, as the caller's credentials say. ``purpose`` is a code of
    http://terminology.hl7.org/CodeSystem/v3-ActReason, or empty; ``break_glass_id`` the one that this was read under.
    ``patient`` is false where nobody's data were concerned.
    """

    interaction: str
    action: str
    outcome: str
    status: int
    client: str
    user: str
    purpose: str
    reason: str
    break_glass_id: str
    request_id: str
    resource_type: str
    patient: bool
    delivered: tuple[Delivered, ...]
    resource: bytes


@event(version=1)
class BreakGlassStarted:
    """A client may read one patient whom its clinic does not know, until then at the latest."""

    break_glass_id: str
    client: str
    user: str
    purpose: str
    reason: str
    until: datetime
    resource: bytes


@event(version=1)
class BreakGlassEnded:
    """It may no more: somebody ended it (``by``), or its time was over."""

    break_glass_id: str
    by: str
    over: bool
    resource: bytes


@event(version=1)
class BreakGlassReviewed:
    """Somebody has looked whether it was right. ``justified`` is what they found."""

    break_glass_id: str
    by: str
    justified: bool
    note: str
    resource: bytes


EVENTS = (AccessRecorded, BreakGlassStarted, BreakGlassEnded, BreakGlassReviewed)
"""What read models of the record itself leave out: to have looked at a patient is not to know one."""
