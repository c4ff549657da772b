"""What a refused message's sender is told: every problem that the gate finds, or what the services say."""

from __future__ import annotations

import re

from epicrisis.errors import Foreign, Malformed, Refused, Unresolved, VersionMismatch
from epicrisis.fhir.limits import MIB
from epicrisis.fhir.outcome import Problem
from epicrisis.fhir.problems import code_of, problems

LOOKED_THROUGH = 4 * MIB
"""Of a larger message only the first problem is told: looking for all costs a hundred times the gate."""
_PLACED = re.compile(r"([A-Z][A-Za-z]+(?:\.entry\[\d+\])?): (.+)\Z", re.DOTALL).match


def problems_of(raw: bytes, refusal: Refused) -> list[Problem]:
    """The problems of a message that the gate or intake refused."""
    if isinstance(refusal, Malformed):
        if refusal.rule and len(raw) <= LOOKED_THROUGH and (found := problems(raw)):
            return found
        code = code_of(refusal) if refusal.rule else "not-found" if isinstance(refusal, Unresolved) else "processing"
        return [Problem(severity="error", code=code, expression=refusal.where, text=refusal.message)]
    placed = _PLACED(str(refusal))
    place, text = (placed[1], placed[2]) if placed else ("", str(refusal))
    codes = {VersionMismatch: "conflict", Foreign: "forbidden"}
    code = next((code for kind, code in codes.items() if isinstance(refusal, kind)), "business-rule")
    return [Problem(severity="error", code=code, expression=place, text=text)]
