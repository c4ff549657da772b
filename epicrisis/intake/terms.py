"""What an operator asks for beyond the rules of all: extra checks, and a code map.

A message is decided by the code map that was in force when it was recorded, also if it is finished later: the inbox
keeps each version of a map, and each message names its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from epicrisis.errors import Poison, SettingsError
from epicrisis.fhir.codes import Codes
from epicrisis.fhir.gate import Check
from epicrisis.intake.inbox import Inbox
from epicrisis.operators import MANIFEST, Operator

CHECKS = "epicrisis.checks"
"""The entry point group of installed packages that bring checks: a manifest names them, and can load nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Of one operator. ``checks`` run behind the gate, on each resource of a message."""

    codes: Codes
    checks: tuple[Check, ...] = ()


def terms_of(operators: Mapping[str, Operator]) -> dict[str, Terms]:
    """The terms of every operator, by its manifest.

    Raises
    ------
    SettingsError
        A code map is wrong, or a check is not installed.
    """
    return {
        name: Terms(codes=code_map(operator), checks=tuple(_checks(operator))) for name, operator in operators.items()
    }


def code_map(operator: Operator) -> Codes:
    """The code map that an operator's manifest names; one without rows where it names none."""
    return (
        Codes.read(operator.read(operator.codes), str(operator.folder / operator.codes)) if operator.codes else Codes()
    )


def _checks(operator: Operator) -> Iterable[Check]:
    for name in operator.checks:
        found = entry_points(group=CHECKS, name=name)
        if not found:
            where = operator.folder / MANIFEST
            raise SettingsError(f"{where}: the check {name} is not installed (entry points of the group {CHECKS})")
        yield next(iter(found)).load()


class CodeMaps:
    """The code maps in force, and those of messages that were recorded under an older one."""

    def __init__(self, inbox: Inbox, terms: Mapping[str, Terms]) -> None:
        self._inbox = inbox
        self._now = {name: one.codes for name, one in terms.items()}
        self._by_digest = {b"": Codes()}

    def digest(self, operator: str) -> bytes:
        """The version in force, which is kept from now on."""
        codes = self._now.get(operator)
        if codes is None:
            return b""
        if codes.digest not in self._by_digest:
            self._inbox.keep_codes(codes.digest, codes.table())
            self._by_digest[codes.digest] = codes
        return codes.digest

    def of(self, digest: bytes) -> Codes:
        """The map of this version.

        Raises
        ------
        Poison
            The inbox does not have it.
        """
        if digest not in self._by_digest:
            table = self._inbox.codes(digest)
            if table is None:
                raise Poison("the code map of a message is not in the inbox: restore the database `intake`", "no_codes")
            self._by_digest[digest] = Codes.read(table, "the code map in the inbox")
        return self._by_digest[digest]
