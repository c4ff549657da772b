"""Take a message in for a caller; what is refused is kept in quarantine, and told with all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from epicrisis.doors.fhir_http.answers import Told, problems, refusal
from epicrisis.doors.fhir_http.caller import Caller
from epicrisis.doors.fhir_http.written import Written
from epicrisis.doors.refusals import because
from epicrisis.errors import NotHere, Refused, VersionMismatch
from epicrisis.fhir.gate import Checked
from epicrisis.fhir.outcome import Problem
from epicrisis.intake import Intake, Receipt
from epicrisis.lockstep import Spares

DOOR = "http"


class Keeps(Protocol):
    """`epicrisis.quarantine.Quarantine`, as far as a door needs it."""

    def refused(
        self, raw: bytes, *, operator: str, clinic: str, door: str, problems: Sequence[Problem], name: str | None = None
    ) -> list[Problem]:
        """Keep it; what the door then tells."""
        ...


class Taking:
    """Intakes, one for each message at hand, and the quarantine behind them; ``written`` is told what each client may
    read next.
    """

    def __init__(self, intakes: Callable[[], Intake], quarantine: Keeps, written: Written) -> None:
        self._intakes = Spares(intakes)
        self._quarantine = quarantine
        self._written = written

    def check(self, raw: bytes, caller: Caller) -> Checked:
        """The gate, with the operator's own checks. Raises `Malformed`."""
        with self._intakes.one() as intake:
            return intake.check(raw, caller.operator)

    def take(self, raw: bytes, caller: Caller, *, checked: Checked, name: str | None = None, mark: str = "") -> Receipt:
        """Take in what passed the gate, wholly or not at all. Raises `Refused`, `Conflict`."""
        with self._intakes.one() as intake:
            receipt = intake.receive(
                raw, operator=caller.operator, clinic=caller.clinic, door=DOOR, checked=checked, name=name, mark=mark
            )
        self._written.note(caller.client, receipt.entries)
        return receipt

    def keep(self, raw: bytes, caller: Caller, problem: Problem) -> None:
        """Keep in quarantine what was answered, and not taken in."""
        self._quarantine.refused(
            raw, operator=caller.operator, clinic=caller.clinic, door=DOOR, problems=[problem]
        )  # under no name: sent again from there it is a message of its own

    def refused(
        self,
        error: Refused,
        raw: bytes,
        caller: Caller,
        *,
        name: str | None = None,
        found: Sequence[Problem] | None = None,
        told: Callable[[Problem], Problem] = lambda problem: problem,
    ) -> Told:
        """The answer to a refusal, the message being kept. ``found``: what is wrong with it, if not just ``error``;
        ``told`` turns a place in the message into one in what was sent.
        """
        answer = refusal(error)
        if isinstance(error, (VersionMismatch, NotHere)):  # nothing to mend: its sender looks again
            return Told(problems(answer.status, [told(one) for one in because(error)]))
        kept = self._quarantine.refused(
            raw,
            operator=caller.operator,
            clinic=caller.clinic,
            door=DOOR,
            problems=found or because(error),
            name=name,
        )
        return Told(problems(answer.status, [told(one) for one in kept]))
