"""The clinical policy of this service, from ``policy.toml``: diagnosis groups and what counts as staging."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from epicrisis.event import record

OTHER = "other"
"""The group of every diagnosis that no rule names."""

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"

Code: TypeAlias = tuple[str, str]
"""System and code."""


@record
class Policy:
    """The policy, ready for look-up. ``staging`` maps a code to the part of a stage that it states."""

    icd10_systems: frozenset[str]
    oncology_systems: frozenset[str]
    icd10: tuple[tuple[str, str, str], ...]
    snomed: Mapping[str, str]
    staging: Mapping[Code, str]
    written: Mapping[str, re.Pattern[str]]

    def group(self, codes: Iterable[Code]) -> str:
        """The group of the first code that has one, else `OTHER`."""
        for system, code in codes:
            if found := self._group(system, code):
                return found
        return OTHER

    def _group(self, system: str, code: str) -> str | None:
        if system == SNOMED:
            return self.snomed.get(code)
        if system in self.icd10_systems:
            category = code[:3].upper()
            return next((group for first, last, group in self.icd10 if first <= category <= last), None)
        return "oncology" if system in self.oncology_systems else None

    def part(self, codes: Iterable[Code]) -> str | None:
        """Which part of a stage these codes state; None: they are not about staging."""
        return next((found for code in codes if (found := self.staging.get(code))), None)

    def written_as(self, part: str, words: Iterable[str]) -> str:
        """The part of a stage as it stands in the first of these texts that has it, or empty."""
        pattern = self.written[part]
        for word in words:
            if found := pattern.search(word):
                return found[found.re.groups and 1]
        return ""


@cache
def policy() -> Policy:
    """The policy as shipped, read once."""
    data: dict[str, Any] = tomllib.loads(files(__package__).joinpath("policy.toml").read_text("utf-8"))
    staging = data["staging"]
    return Policy(
        icd10_systems=frozenset(data["icd10_systems"]),
        oncology_systems=frozenset(data["oncology_systems"]),
        icd10=tuple((*r.split("-"), group) for group, ranges in data["icd10"].items() for r in ranges),
        snomed={code: group for group, codes in data["snomed"].items() for code in codes},
        staging={
            (system, code): part
            for system, table in ((LOINC, staging["loinc"]), (SNOMED, staging["snomed"]))
            for part, codes in table.items()
            for code in codes
        },
        written={part: re.compile(pattern) for part, pattern in staging["written"].items()},
    )
