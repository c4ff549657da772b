"""Take a message in for a caller; what is refused is kept in quarantine, and told with all that is wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from epicrisis.doors.fhir_http.answers import Told, issue_code, problems, refusal
from epicrisis.doors.fhir_http.caller import Caller
from epicrisis.doors.fhir_http.written import Written
from epicrisis.errors import Foreign, Malformed, NotHere, Refused, VersionMismatch
from epicrisis.fhir import problems as slow
from epicrisis.fhir.gate import Checked
from epicrisis.fhir.limits import MIB
from epicrisis.fhir.outcome import Problem
from epicrisis.intake import Intake, Receipt

DOOR = "http"
LOOKED_THROUGH = 4 * MIB
"""Of a larger input only the first problem is told: looking for all costs a hundred times the gate."""


class Keeps(Protocol):
    """`epicrisis.quarantine.Quarantine`, as far as a door needs it."""

    def refused(
        self, raw: bytes, *, operator: str, clinic: str, door: str, problems: Sequence[Problem], name: str | None = None
    ) -> list[Problem]:
        """Keep it; what the door then tells."""
        ...


class Taking:
    """Intakes, one per thread, and the quarantine behind them; ``written`` is told what each client may read next."""

    def __init__(self, intakes: Callable[[], Intake], quarantine: Keeps, written: Written) -> None:
        self._intakes = intakes
        self._quarantine = quarantine
        self._written = written
        self._mine = threading.local()

    def check(self, raw: bytes, caller: Caller) -> Checked:
        """The gate, with the operator's own checks. Raises `Malformed`."""
        return self._intake.check(raw, caller.operator)

    def take(self, raw: bytes, caller: Caller, *, checked: Checked, name: str | None = None) -> Receipt:
        """Take in what passed the gate, wholly or not at all. Raises `Refused`, `Conflict`."""
        receipt = self._intake.receive(
            raw, operator=caller.operator, clinic=caller.clinic, door=DOOR, checked=checked, name=name
        )
        self._written.note(caller.client, receipt.entries)
        return receipt

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

    @property
    def _intake(self) -> Intake:
        found: Intake | None = getattr(self._mine, "intake", None)
        if found is None:
            found = self._mine.intake = self._intakes()
        return found


def because(error: Refused) -> list[Problem]:
    """One refusal as the problem that it is."""
    where, text, code = "", str(error), "business-rule"
    if isinstance(error, Malformed):
        where, text, code = error.where, error.message, issue_code(error)
    elif isinstance(error, VersionMismatch):
        code = "conflict"
    elif isinstance(error, Foreign):
        code = "forbidden"
    return [Problem(severity="error", code=code, expression=where, text=text)]


def all_of(error: Malformed, raw: bytes) -> list[Problem]:
    """Every problem of what the gate refused."""
    return (slow.problems(raw) if len(raw) <= LOOKED_THROUGH else []) or because(error)
