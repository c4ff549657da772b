"""How old bodies become new ones, a step each: see docs/how-to/schemas.md."""

from __future__ import annotations

from typing import Any

from schemas.common import with_local


def v1_to_v2(body: dict[str, Any]) -> dict[str, Any]:
    return with_local(body, "purpose")


upcasts = {
    ("ReferralRequested", 1): v1_to_v2,
    ("ReferralRevised", 1): v1_to_v2,
}
