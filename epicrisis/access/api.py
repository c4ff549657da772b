"""An access, as whoever gives data away describes it; which event it becomes is for the service `access_audit`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, TypeAlias
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from epicrisis.event import Meta, event_type, event_version, record

ACCESS = "access_audit"
"""The service, with a journal and a role of its own, whose events accesses become."""
Action: TypeAlias = Literal["C", "R", "U", "D", "E"]
"""Create, read, update, delete, execute: https://hl7.org/fhir/R4/valueset-audit-event-action.html."""
SUCCESS, REFUSED, FAILED = "0", "4", "8"
"""https://hl7.org/fhir/R4/valueset-audit-event-outcome.html: success, the caller's mistake, ours."""
MOST_TEXT = 8_192
"""Of what was asked, so many characters are kept."""
TREATMENT, EMERGENCY = "TREAT", ("BTG", "ETREAT")
"""Codes of http://terminology.hl7.org/CodeSystem/v3-ActReason."""


@record
class Caller:
    """Who it was: a client of an operator's, for one of its clinics. What its credentials do not say is empty."""

    operator: str
    clinic: str
    client: str
    user: str = ""
    purpose: str = ""
    reason: str = ""
    address: str = ""
    """Where the client was, as the connection says."""


@record
class Access:
    """One access to the record of one patient, or (``patient`` None) to what is nobody's.

    ``asked`` is the request, sealed with the event: it may name people. ``what`` refers to the one resource that was
    concerned, empty where it was not one. ``delivered`` has the numbers of the events that left, by service.
    """

    id: UUID
    when: datetime
    who: Caller
    door: str
    """Where it happened: an address, or the name of this machine."""
    interaction: str
    action: Action
    outcome: str = SUCCESS
    status: int = 0
    asked: str = ""
    patient: UUID | None = None
    what: str = ""
    resource_type: str = ""
    delivered: Mapping[str, Collection[int]]
    request_id: str = ""
    break_glass: UUID | None = None

    @property
    def subject(self) -> UUID:
        """Whose stream it is in."""
        return self.patient or subject_of(self.who)


def subject_of(who: Caller) -> UUID:
    """The subject of what a caller did that concerns no patient."""
    return uuid5(NAMESPACE_URL, f"epicrisis:caller:{who.operator}/{who.client}")


def meta_of(body: Any, who: Caller, *, id: UUID, subject: UUID, seq: int, stream: str, when: datetime) -> Meta:
    """The envelope of an event of `ACCESS`."""
    return Meta(
        id=id,
        type=event_type(body),
        version=event_version(body),
        source=ACCESS,
        operator=who.operator,
        clinic=who.clinic,
        subject=subject,
        seq=seq,
        stream=stream,
        effective=when,
        recorded=when,
    )


class Accessed:
    """What one request touches, noted while it is answered.

    ``ahead`` is called as soon as it is known which events will leave: they can be recorded while they are read.
    ``delivered`` is what is not recorded yet, ``taken`` whose patients' data are.
    """

    def __init__(self, ahead: Callable[[Accessed], None] | None = None) -> None:
        self.ahead = ahead
        self.delivered: dict[UUID, dict[str, set[int]]] = {}
        self.taken: set[UUID] = set()
        self.caller: object = None
        """Who it turned out to be, where nobody need say so to ask."""
        self.what = ""
        self.interaction = ""
        self.action: Action | None = None

    def named(self, patients: Iterable[UUID]) -> None:
        """The request is about these patients, whether or not anything of them leaves."""
        for patient in patients:
            if patient not in self.taken:
                self.delivered.setdefault(patient, {})

    def took(self, places: Iterable[tuple[UUID, str, int]]) -> None:
        """These events leave; the directory's are nobody's."""
        for subject, source, seq in places:
            if source != "directory":
                self.delivered.setdefault(subject, {}).setdefault(source, set()).add(seq)
        if self.ahead is not None and self.delivered:
            self.ahead(self)

    def accesses(
        self,
        who: Caller,
        *,
        now: datetime,
        door: str,
        interaction: str,
        action: Action,
        outcome: str = SUCCESS,
        status: int = 0,
        asked: str = "",
        resource_type: str = "",
        request_id: str = "",
        break_glass: tuple[UUID, UUID] | None = None,
    ) -> list[Access]:
        """One per patient not recorded yet; one where there is none. ``break_glass``: its patient and its id."""
        delivered, self.delivered = self.delivered, {}
        self.taken.update(delivered)
        patients: Sequence[UUID | None] = list(delivered) or [None]
        return [
            Access(
                id=uuid4(),
                when=now,
                who=who,
                door=door,
                interaction=self.interaction or interaction,
                action=self.action or action,
                outcome=outcome,
                status=status,
                asked=asked[:MOST_TEXT],
                patient=patient,
                what=self.what,
                resource_type=resource_type,
                delivered=delivered[patient] if patient else {},
                request_id=request_id,
                break_glass=break_glass[1] if break_glass and break_glass[0] == patient else None,
            )
            for patient in patients
        ]


def ranges(numbers: Collection[int]) -> str:
    """``{1, 2, 3, 7}`` as ``1-3,7``."""
    if not numbers:
        return ""
    ordered = sorted(numbers)
    breaks = [n for n, (one, other) in enumerate(pairwise(ordered), 1) if other != one + 1]
    parts = zip([0, *breaks], [*breaks, len(ordered)], strict=True)
    return ",".join(str(ordered[a]) if b - a == 1 else f"{ordered[a]}-{ordered[b - 1]}" for a, b in parts)


def numbers(text: str) -> set[int]:
    """What `ranges` wrote."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


@record
class Glass:
    """What somebody does to a break-glass: one patient's record, opened to a client whose clinic does not know them.

    ``until`` is for who starts it, ``justified`` and ``note`` for who reviews it; ``event`` is the AuditEvent's own id.
    """

    id: UUID
    event: UUID
    does: Literal["start", "end", "review"]
    when: datetime
    who: Caller
    patient: UUID
    door: str
    until: datetime | None = None
    justified: bool = True
    note: str = ""

    @property
    def said(self) -> str:
        """Why, in words."""
        return self.note if self.does == "review" else self.who.reason
