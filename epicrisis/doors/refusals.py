"""What a refused message's sender is told: every problem that the gate finds, or what the services say."""

from __future__ import annotations

import re

from epicrisis.errors import Foreign, Malformed, Refused, Unresolved, VersionMismatch
from epicrisis.fhir.limits import MIB
from epicrisis.fhir.outcome import Problem
from epicrisis.fhir.problems import problems
from epicrisis.fhir.rules import RULES

LOOKED_THROUGH = 4 * MIB
"""Of a larger message only the first problem is told: looking for all costs a hundred times the gate."""
_PLACED = re.compile(r"([A-Z][A-Za-z]+(?:\.entry\[\d+\])?): (.+)\Z", re.DOTALL).match


def issue_code(error: Malformed) -> str:
    """The FHIR issue type of what could not be understood."""
    if error.rule in RULES:
        return RULES[error.rule][0]
    return "not-found" if isinstance(error, Unresolved) else "processing"


def because(refusal: Refused) -> list[Problem]:
    """One refusal as the problem that it is."""
    if isinstance(refusal, Malformed):
        code, where, text = issue_code(refusal), refusal.where, refusal.message
    else:
        placed = _PLACED(str(refusal))
        where, text = (placed[1], placed[2]) if placed else ("", str(refusal))
        codes = {VersionMismatch: "conflict", Foreign: "forbidden"}
        code = next((code for kind, code in codes.items() if isinstance(refusal, kind)), "business-rule")
    return [Problem(severity="error", code=code, expression=where, text=text)]


def problems_of(raw: bytes, refusal: Refused) -> list[Problem]:
    """The problems of a message that the gate or intake refused: all that the gate has, or the one refusal."""
    if isinstance(refusal, Malformed) and refusal.rule and len(raw) <= LOOKED_THROUGH:
        return problems(raw) or because(refusal)
    return because(refusal)
