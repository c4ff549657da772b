"""How old bodies become new ones, a step each: see docs/how-to/schemas.md."""

from __future__ import annotations

from typing import Any

from schemas.common import with_local


def v1_to_v2(body: dict[str, Any]) -> dict[str, Any]:
    return with_local(body, "code")


upcasts = {
    ("DiagnosisRecorded", 1): v1_to_v2,
    ("DiagnosisRevised", 1): v1_to_v2,
    ("DiagnosisConfirmed", 1): v1_to_v2,
    ("DiagnosisStaged", 1): v1_to_v2,
    ("DiagnosisRefuted", 1): v1_to_v2,
    ("DiagnosisResolved", 1): v1_to_v2,
    ("DiagnosisEnteredInError", 1): v1_to_v2,
}
