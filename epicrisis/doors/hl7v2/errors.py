"""What is wrong with an HL7 v2 message, and where: as ERR segments and quarantine tell it. Never with a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from epicrisis.errors import Refused
from epicrisis.fhir.outcome import Problem

# Table 0357, message error condition codes (https://terminology.hl7.org/CodeSystem-v2-0357.html)
SEQUENCE: Final = "100"
REQUIRED: Final = "101"
DATA_TYPE: Final = "102"
VALUE: Final = "103"
MESSAGE_TYPE: Final = "200"
EVENT: Final = "201"
UNKNOWN_KEY: Final = "204"
DUPLICATE_KEY: Final = "205"
INTERNAL: Final = "207"

CONDITIONS: Final = {
    SEQUENCE: "Segment sequence error",
    REQUIRED: "Required field missing",
    DATA_TYPE: "Data type error",
    VALUE: "Table value not found",
    MESSAGE_TYPE: "Unsupported message type",
    EVENT: "Unsupported event code",
    UNKNOWN_KEY: "Unknown key identifier",
    DUPLICATE_KEY: "Duplicate key identifier",
    INTERNAL: "Application internal error",
}

_ISSUES: Final = {
    SEQUENCE: "structure",
    REQUIRED: "required",
    DATA_TYPE: "value",
    VALUE: "code-invalid",
    MESSAGE_TYPE: "not-supported",
    EVENT: "not-supported",
    UNKNOWN_KEY: "not-found",
    DUPLICATE_KEY: "duplicate",
    INTERNAL: "exception",
}
"""The same as FHIR issue types."""


class Place(Struct, frozen=True):
    """Segment (the n-th of its name), field, repetition, component and subcomponent, all from 1; 0: no such part."""

    segment: str = ""
    sequence: int = 1
    field: int = 0
    repetition: int = 0
    component: int = 0
    subcomponent: int = 0

    def __str__(self) -> str:
        """``OBX[2]-5(3).1.2``, as interface specifications write it."""
        text = self.segment if self.sequence <= 1 else f"{self.segment}[{self.sequence}]"
        if self.field:
            text += f"-{self.field}"
            text += f"({self.repetition})" if self.repetition > 1 else ""
            text += f".{self.component}" if self.component else ""
            text += f".{self.subcomponent}" if self.subcomponent else ""
        return text


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: a code of table 0357, a place, a sentence without any value that was sent."""

    code: str
    place: Place
    text: str
    severity: Literal["E", "W"] = "E"
    issue: str = ""
    """Its FHIR issue type, where the code does not say enough."""

    @property
    def problem(self) -> Problem:
        """The same for an OperationOutcome and for quarantine."""
        return Problem(
            severity="error" if self.severity == "E" else "warning",
            code=self.issue or _ISSUES.get(self.code, "processing"),
            expression=str(self.place),
            text=self.text,
        )


class NotMapped(Refused):
    """The message cannot become FHIR resources: correct it, or the tables that map it, and send it again."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.place}: {fault.text}" for fault in faults))
        self.faults = tuple(faults)
