"""The clinical policy of this service, from ``policy.toml``: what is oncology, and which stages treatment has."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from epicrisis.event import record

Code: TypeAlias = tuple[str, str]
"""System and code."""


@record
class Policy:
    """The policy, ready for look-up."""

    oncology: frozenset[Code]
    stages: Mapping[Code, str]

    def is_oncology(self, codes: Iterable[Code]) -> bool:
        """Whether one of these codes says oncology."""
        return any(code in self.oncology for code in codes)

    def stage(self, codes: Iterable[Code]) -> str | None:
        """The kind of the stage of treatment that these codes name, if any."""
        return next((kind for code in codes if (kind := self.stages.get(code))), None)


@cache
def policy() -> Policy:
    """The policy as shipped, read once."""
    data: dict[str, Any] = tomllib.loads(files(__package__).joinpath("policy.toml").read_text("utf-8"))
    return Policy(
        oncology=frozenset((system, code) for system, codes in data["oncology"].items() for code in codes),
        stages={
            (system, code): kind
            for kind, systems in data["stages"].items()
            for system, codes in systems.items()
            for code in codes
        },
    )
