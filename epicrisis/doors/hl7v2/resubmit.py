"""What was refused, from quarantine: through the tables of today, and in."""

from __future__ import annotations

from uuid import UUID

from epicrisis.doors.hl7v2.door import DOOR, Maps, checked, content_of, submit
from epicrisis.doors.hl7v2.errors import NotMapped
from epicrisis.doors.hl7v2.senders import Caller
from epicrisis.fhir.outcome import Problem
from epicrisis.intake import Intake
from epicrisis.intake.identity import FROM_QUARANTINE
from epicrisis.quarantine import Held, Original


class Hl7v2:
    """See `epicrisis.doors.again.Way`."""

    def __init__(self, intake: Intake, maps: Maps) -> None:
        self._intake = intake
        self._maps = maps

    def problems(self, held: Held, original: Original) -> list[Problem]:
        """What is wrong with the message today; nothing where the gate would let it pass."""
        try:
            _, found = checked(original.raw, self._maps.of(held.operator))
        except NotMapped as refusal:
            return [fault.problem for fault in refusal.faults]
        return [fault.problem for fault in found]

    def send(self, held: Held, original: Original) -> UUID:
        """Take it in; its id in the inbox. One whose control id had been used before gets a name of its own."""
        taken = submit(
            original.raw,
            caller=Caller(held.operator, held.clinic),
            mappings=self._maps.of(held.operator),
            intake=self._intake,
            name=original.name,
            door=FROM_QUARANTINE + DOOR,
        )
        if taken.other:
            taken = submit(
                original.raw,
                caller=Caller(held.operator, held.clinic),
                mappings=self._maps.of(held.operator),
                intake=self._intake,
                name=f"{original.name}|{content_of(original.raw)}",
                door=FROM_QUARANTINE + DOOR,
            )
        return taken.receipt.message
