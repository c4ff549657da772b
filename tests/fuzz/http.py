"""schemathesis against the door's own OpenAPI description: never a 500, every error an OperationOutcome."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from schemathesis.checks import CHECKS
from starlette.applications import Starlette

WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
ADDRESS = "/fhir/openapi.json"


def fuzz(app: Starlette, authorization: str, examples: int, *, seed: int = 0) -> int:
    """Call every operation with so many made-up requests; how many operations. schemathesis leaves out the address of
    the description itself.
    """
    schema = schemathesis.openapi.from_asgi(ADDRESS, app)
    checks = [CHECKS.get_one(name) for name in WANTED]
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        count += 1

        @seeded(seed)
        @settings(
            max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            case.call_and_validate(headers={"Authorization": authorization}, checks=checks)

        call()
    return count
