"""The access log: per patient who was given what, when and why, or was refused; and broken glasses, to be reviewed.

Accesses that concern no patient are kept under the caller's own subject; their ``patient`` is false.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from epicrisis.event import Meta, record, replace
from epicrisis.projection import Key, Projection, Scope
from schemas.access_audit import AccessRecorded, BreakGlassEnded, BreakGlassReviewed, BreakGlassStarted

projection = Projection(name="cluster_access", version=1, scope=Scope.CLUSTER)


@projection.table(key=("subject", "id"))
@record
class Access:
    """One access. ``delivered`` has the numbers of the events that left, by service: ``{"chart": "1-57,60"}``.

    ``outcome`` is 0 (success), 4 (refused) or 8 (failed); ``break_glass_id`` is empty where no glass was broken.
    """

    subject: UUID
    id: UUID
    recorded: datetime
    operator: str
    clinic: str
    client: str
    user_id: str
    patient: bool
    interaction: str
    action: str
    resource_type: str
    outcome: str
    status: int
    purpose: str
    reason: str
    break_glass_id: str
    request_id: str
    delivered: dict[str, Any]


@projection.table(key=("subject", "break_glass_id"), name="cluster_access_break_glass")
@record
class BreakGlass:
    """A broken glass. ``accesses`` counts what was read under it; ``justified`` is NULL until it was reviewed."""

    subject: UUID
    break_glass_id: str
    started: datetime | None = None
    until: datetime | None = None
    ended: datetime | None = None
    ended_by: str = ""
    over: bool = False
    operator: str = ""
    clinic: str = ""
    client: str = ""
    user_id: str = ""
    purpose: str = ""
    reason: str = ""
    accesses: int = 0
    reviewed: datetime | None = None
    reviewed_by: str = ""
    justified: bool | None = None
    note: str = ""


@projection.on(AccessRecorded, Access, rows=lambda _, meta: ((meta.subject, meta.id),))
def accessed(row: Access | None, event: AccessRecorded, meta: Meta) -> Access:
    return Access(
        subject=meta.subject,
        id=meta.id,
        recorded=meta.recorded,
        operator=meta.operator,
        clinic=meta.clinic,
        client=event.client,
        user_id=event.user,
        patient=event.patient,
        interaction=event.interaction,
        action=event.action,
        resource_type=event.resource_type,
        outcome=event.outcome,
        status=event.status,
        purpose=event.purpose,
        reason=event.reason,
        break_glass_id=event.break_glass_id,
        request_id=event.request_id,
        delivered={one.source: one.seqs for one in event.delivered},
    )


def under(event: AccessRecorded, meta: Meta) -> Iterable[Key]:
    """The row of the glass that was broken for it."""
    return ((meta.subject, event.break_glass_id),) if event.break_glass_id else ()


def _known(row: BreakGlass | None, meta: Meta, id_: str) -> BreakGlass:
    return row or BreakGlass(subject=meta.subject, break_glass_id=id_)


@projection.on(AccessRecorded, BreakGlass, rows=under)
def read_under(row: BreakGlass | None, event: AccessRecorded, meta: Meta) -> BreakGlass:
    known = _known(row, meta, event.break_glass_id)
    return replace(known, accesses=known.accesses + 1)


@projection.on(BreakGlassStarted, BreakGlass)
def started(row: BreakGlass | None, event: BreakGlassStarted, meta: Meta) -> BreakGlass:
    return replace(
        _known(row, meta, event.break_glass_id),
        started=meta.recorded,
        until=event.until,
        operator=meta.operator,
        clinic=meta.clinic,
        client=event.client,
        user_id=event.user,
        purpose=event.purpose,
        reason=event.reason,
    )


@projection.on(BreakGlassEnded, BreakGlass)
def ended(row: BreakGlass | None, event: BreakGlassEnded, meta: Meta) -> BreakGlass:
    return replace(_known(row, meta, event.break_glass_id), ended=meta.recorded, ended_by=event.by, over=event.over)


@projection.on(BreakGlassReviewed, BreakGlass)
def reviewed(row: BreakGlass | None, event: BreakGlassReviewed, meta: Meta) -> BreakGlass:
    return replace(
        _known(row, meta, event.break_glass_id),
        reviewed=meta.recorded,
        reviewed_by=event.by,
        justified=event.justified,
        note=event.note,
    )
