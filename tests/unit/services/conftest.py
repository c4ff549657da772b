"""Hand-written FHIR resources, through the real gate, as a service's reader sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from epicrisis.decider import Inbound
from epicrisis.fhir.gate import Gate

SUBJECT = UUID("00000000-0000-4000-8000-000000000001")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def inbound() -> Callable[..., Inbound]:
    """Make an `Inbound` of a resource; keyword arguments replace what it says about the sender."""
    gate = Gate()

    def make(resource: Mapping[str, Any], resolve: Mapping[str, str] | None = None, **changes: Any) -> Inbound:
        raw = json.dumps(resource).encode()
        told: dict[str, Any] = {
            "resource_type": resource["resourceType"],
            "resource_id": resource["id"],
            "resource": gate.check(raw).parsed,
            "raw": raw,
            "method": "PUT",
            "subject": SUBJECT,
            "operator": "charite",
            "clinic": "charite/gyn",
            "now": NOW,
            "resolve": lambda reference: (resolve or {}).get(reference, reference),
        }
        return Inbound(**{**told, **changes})

    return make


@pytest.fixture(scope="session")
def deleted() -> Callable[[str, str], Inbound]:
    """Make the `Inbound` of a DELETE: there is no resource."""

    def make(resource_type: str, resource_id: str) -> Inbound:
        return Inbound(
            resource_type=resource_type,
            resource_id=resource_id,
            resource=None,
            raw=b"",
            method="DELETE",
            subject=SUBJECT,
            operator="charite",
            clinic="charite/gyn",
            now=NOW,
            resolve=str,
        )

    return make
