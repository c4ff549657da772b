"""Break-glass over HTTP: what a client's signed assertion says of who uses it and why, and whose record that opens.

`hl7-b2b` is HL7's extension of assertions, https://hl7.org/fhir/us/udap-security/b2b.html: ``subject_id`` and
``purpose_of_use`` are read. Beside it `epicrisis-break-glass` names the patient, the reason, and for how long; or, by
``id``, a glass that was broken before, for another token under it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias
from uuid import UUID, uuid4

import msgspec

from epicrisis.access.api import Accessed, Glass
from epicrisis.access.glass import BreakGlass
from epicrisis.doors.fhir_http.caller import Caller, Opened
from epicrisis.doors.fhir_http.chart import Chart
from epicrisis.doors.fhir_http.names import Names
from epicrisis.doors.fhir_http.query import Identified, Named, is_uuid
from epicrisis.errors import Refused

_SHORT = 256
_Text: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00\ud800-\udfff]*\Z")]
"""What a database takes as text: one value that it does not take would stop all that is recorded of this caller."""


class _B2b(msgspec.Struct):
    subject_id: _Text = ""
    purpose_of_use: list[_Text] = []


class _Break(msgspec.Struct):
    patient: _Text = ""
    reason: _Text = ""
    minutes: int = 60
    id: str = ""


class _Extensions(msgspec.Struct):
    b2b: _B2b = msgspec.field(name="hl7-b2b", default_factory=_B2b)
    glass: _Break | None = msgspec.field(name="epicrisis-break-glass", default=None)


class Opening:
    """Reads extensions, and breaks glasses. ``door``: the address under which it is recorded."""

    def __init__(
        self, *, glass: BreakGlass, names: Names, chart: Chart, door: str, clock: Callable[[], datetime]
    ) -> None:
        self._glass = glass
        self._names = names
        self._chart = chart
        self._door = door
        self._clock = clock

    def read(self, caller: Caller, extensions: Any) -> Caller:
        """The caller with its user, its purpose and what is opened to it.

        Raises
        ------
        Refused
            The extensions cannot be read, or the glass may not be broken.
        """
        try:
            said = msgspec.convert(extensions or {}, _Extensions)
        except msgspec.ValidationError:
            raise Refused("the assertion's extensions cannot be read: see docs/how-to/access-audit.md") from None
        purpose = said.b2b.purpose_of_use[0] if said.b2b.purpose_of_use else ""
        purpose = purpose.replace("|", "#").rpartition("#")[2]
        if len(purpose) > _SHORT or len(said.b2b.subject_id) > _SHORT:
            raise Refused(f"subject_id and purpose_of_use have at most {_SHORT} characters")
        caller = replace(caller, user=said.b2b.subject_id, purpose=purpose)
        return caller if said.glass is None else self._opened(caller, said.glass)

    def still(self, caller: Caller) -> bool:
        """Whether what is opened to this caller still is."""
        opened = caller.opened
        return opened is None or self._until(caller, opened.id, opened.patient) is not None

    def end(self, caller: Caller) -> None:
        """Close it, before its time is over."""
        if caller.opened is not None:
            self._glass.do(self._act(caller, caller.opened.id, caller.opened.patient, "end"))

    def _opened(self, caller: Caller, wanted: _Break) -> Caller:
        patient = self._patient(caller, wanted.patient)
        if wanted.id:
            id_ = UUID(wanted.id) if is_uuid(wanted.id) else UUID(int=0)
            until = self._until(caller, id_, patient)
            if until is None:
                raise Refused("this glass is not broken, or not any more: break it anew, and say why")
        else:
            id_, until = uuid4(), self._clock() + timedelta(minutes=wanted.minutes)
            self._glass.do(self._act(caller, id_, patient, "start", reason=wanted.reason, until=until))
        return replace(caller, opened=Opened(id=id_, patient=patient, until=until))

    def _patient(self, caller: Caller, text: str) -> UUID:
        """The patient who is named: by the cluster's id, the operator's own, or ``system|value``; known, but unseen."""
        system, bar, value = text.partition("|")
        named = Identified("Patient", system, value) if bar else Named(("Patient",), text.removeprefix("Patient/"))
        for id_ in self._names.ids(caller.operator, named):
            with self._chart.seen_by(caller.clinic, Accessed(), id_) as view:
                rows = view.by_ids([id_]).get(id_)
            if rows and rows[-1][0].resource_type == "Patient":
                return rows[-1][0].subject
        raise Refused("no such patient is known: name the cluster's id, your own, or system|value")

    def _until(self, caller: Caller, id_: UUID, patient: UUID) -> datetime | None:
        return self._glass.until(id_, patient, caller.client, self._clock())

    def _act(
        self, caller: Caller, id_: UUID, patient: UUID, does: Any, *, reason: str = "", until: datetime | None = None
    ) -> Glass:
        return Glass(
            id=id_,
            event=uuid4(),
            does=does,
            when=self._clock(),
            who=caller.who(reason=reason),
            patient=patient,
            door=self._door,
            until=until,
        )
