"""A quarantined message once more, by the door's own way: what is wrong with it today, and in it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol
from uuid import UUID

from epicrisis import assembly
from epicrisis.doors.hl7v2.door import DOOR, Maps
from epicrisis.doors.hl7v2.resubmit import Hl7v2
from epicrisis.doors.refusals import problems_of
from epicrisis.errors import KeyLost, Refused
from epicrisis.fhir.outcome import Problem
from epicrisis.intake import Intake
from epicrisis.intake.identity import FROM_QUARANTINE
from epicrisis.operators import read_operators
from epicrisis.quarantine import Held, Original, Quarantine
from epicrisis.settings import Settings


class Way(Protocol):
    """How a door's messages go in."""

    def problems(self, held: Held, original: Original) -> list[Problem]:
        """What is wrong with the message today; nothing where the gate would let it pass."""
        ...

    def send(self, held: Held, original: Original) -> UUID:
        """Take it in; its id in the inbox.

        Raises
        ------
        Refused
            It is refused today, too: it waits on.
        """
        ...


class Fhir:
    """FHIR JSON goes to intake as it is, whichever door it came through."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def problems(self, held: Held, original: Original) -> list[Problem]:
        try:
            self._intake.check(original.raw, held.operator)
        except Refused as refusal:
            return problems_of(original.raw, refusal)
        return []

    def send(self, held: Held, original: Original) -> UUID:
        door = FROM_QUARANTINE + held.door
        receipt = self._intake.receive(
            original.raw, operator=held.operator, clinic=held.clinic, door=door, name=original.name
        )
        return receipt.message


def ways(settings: Settings) -> Callable[[str], Way]:
    """The way of each door, by its name."""
    intake = assembly.intake(settings)
    fhir, hl7v2 = Fhir(intake), Hl7v2(intake, Maps(read_operators(settings.operators_folder)))
    return lambda door: hl7v2 if door == DOOR else fhir


def resubmitted(
    way: Callable[[str], Way], quarantine: Quarantine, some: Iterable[Held], by: str
) -> Iterator[dict[str, Any]]:
    """Send messages again, one after the other; a row for each. What is refused again waits on.

    Killed between the two steps, the message is in and still waits: sent again, it gets the first answer.
    """
    for held in some:
        row: dict[str, Any] = {"id": held.id, "operator": held.operator, "door": held.door, "message": None}
        try:
            quarantine.waits(held)
            original = quarantine.original(held)
            message = way(held.door).send(held, original)
            quarantine.resubmitted(held, message, by)
        except (Refused, KeyLost) as refusal:
            yield {**row, "outcome": "refused", "problems": str(refusal)}
        else:
            yield {**row, "outcome": "went in", "message": message}
