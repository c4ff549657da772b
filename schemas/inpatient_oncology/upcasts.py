"""How old bodies become new ones, a step each: see docs/how-to/schemas.md."""

from __future__ import annotations

from typing import Any

from schemas.common import with_local


def code_v1_to_v2(body: dict[str, Any]) -> dict[str, Any]:
    return with_local(body, "code")


def disposition_v1_to_v2(body: dict[str, Any]) -> dict[str, Any]:
    return with_local(body, "disposition")


upcasts = {
    ("TreatmentStageStarted", 1): code_v1_to_v2,
    ("PatientDischarged", 1): disposition_v1_to_v2,
}
