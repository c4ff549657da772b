"""Problems as FHIR says them: an OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: a FHIR issue type, a place in FHIRPath, a sentence without any value."""

    severity: Literal["fatal", "error", "warning", "information"]
    code: str
    expression: str
    text: str


def outcome(problems: Sequence[Problem]) -> bytes:
    """An OperationOutcome with an issue for each problem; without problems it says that all is well."""
    issues = [_issue(problem) for problem in problems] or [
        {"severity": "information", "code": "informational", "diagnostics": "No problem was found."}
    ]
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": issues})


def _issue(problem: Problem) -> dict[str, str | list[str]]:
    issue: dict[str, str | list[str]] = {
        "severity": problem.severity,
        "code": problem.code,
        "diagnostics": problem.text,
    }
    if problem.expression:
        issue["expression"] = [problem.expression]
    return issue
