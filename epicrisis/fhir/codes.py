"""An operator's code map: its local codes, and the standard ones that they stand for.

A CSV file beside the operator's manifest, with this header; lines that start with `#` are comments:

    local_system,local_code,standard_system,standard_code,display
    urn:oid:2.999.7.1,GLU,http://loinc.org,2339-0,Glucose [Mass/volume] in Blood
    # it has no standard code, and is not to be listed any more
    urn:oid:2.999.7.1,OLD-17,,,
    # nor is any code of this system
    urn:oid:2.999.7.2,*,,,

Facts are read with it: the standard code is what read models are searched by, the local one is kept beside it, and the
resource's bytes stay as sent. A local code that the map does not have is a fact as it is, marked, and listed.
"""

import csv
import io
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

from msgspec import UNSET

from ..errors import SettingsError
from .values import absent

HEADER = ("local_system", "local_code", "standard_system", "standard_code", "display")
ALL = "*"
_MEMO_ENTRIES = 20_000

Code = tuple[str, str]
"""System and code; either may be empty."""


class Fact(NamedTuple):
    """A code as it becomes a fact.

    ``local`` is the sender's own code, ``system|code``: empty where the code came as a standard one, equal to
    ``system|code`` where nothing standard is known for it.
    """

    system: str
    code: str
    display: str
    local: str = ""

    @property
    def unmapped(self) -> bool:
        """Whether it is a local code for which nothing standard is known."""
        return self.local != "" and self.local == f"{self.system}|{self.code}"


NOTHING = Fact("", "", "")


@cache
def _standard_systems() -> tuple[frozenset[str], tuple[str, ...]]:
    data = tomllib.loads(files(__package__).joinpath("standard_systems.toml").read_text("utf-8"))
    return frozenset(data["systems"]), tuple(data["prefixes"])


def is_standard(system: str) -> bool:
    """Whether a code system is a standard one, by `standard_systems.toml`."""
    systems, prefixes = _standard_systems()
    return system in systems or system.startswith(prefixes)


class Codes:
    """An operator's code map, ready for look-up; without rows it knows no local code.

    ``as_sent``: nothing is local, every code is a fact as it is.
    """

    def __init__(self, rows: Iterable[Sequence[str]] = (), *, as_sent: bool = False) -> None:
        self._rows = sorted(tuple(row) for row in rows)
        self._map = {(row[0], row[1]): row[2:] for row in self._rows}
        self._fine = frozenset(row[0] for row in self._rows if row[1] == ALL)
        self._as_sent = as_sent
        self._memo: dict[tuple[Any, Any, Any], Fact] = {}

    @classmethod
    def read(cls, table: bytes, name: str) -> "Codes":
        """Read a code map; ``name`` is how errors call the file.

        Raises
        ------
        SettingsError
            A line is wrong: names it, and what is expected.
        """
        try:
            lines = table.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise SettingsError(f"{name}: not UTF-8: save it as such") from None
        numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
        if not numbered or tuple(numbered[0][1].split(",")) != HEADER:
            raise SettingsError(f"{name}: the first line must be {','.join(HEADER)}")
        rows: dict[Code, list[str]] = {}
        for number, line in numbered[1:]:
            cells = [cell.strip() for cell in next(csv.reader([line]))]
            wrong = _wrong(cells) or ("the same local code is mapped above" if (cells[0], cells[1]) in rows else "")
            if wrong:
                raise SettingsError(f"{name} line {number}: {wrong}")
            rows[cells[0], cells[1]] = cells
        return cls(rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def knows(self, system: str, code: str) -> bool:
        """Whether this needs no mapping any more: it is standard, or the map has it."""
        return not self._fact(system, code, "").unmapped

    def table(self) -> bytes:
        """The map as a file again, in one order: equal maps are equal bytes. All is quoted: a # begins a comment."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(HEADER)
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(self._rows)
        return text.getvalue().encode()

    @cached_property
    def digest(self) -> bytes:
        """What tells one version of the map from another, 16 bytes; empty for a map without rows."""
        return sha256(self.table()).digest()[:16] if self._rows else b""

    def fact(self, coding: Any) -> Fact:
        """One Coding as a fact."""
        key = coding.system, coding.code, coding.display
        found = self._memo.get(key)
        if found is None:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            found = self._memo[key] = self._fact(*("" if absent(part) else str(part) for part in key))
        return found

    def _fact(self, system: str, code: str, display: str) -> Fact:
        if self._as_sent or not code:
            return Fact(system, code, display)
        to = self._map.get((system, code))
        if to is not None and to[1]:
            return Fact(to[0], to[1], to[2] or display, f"{system}|{code}")
        if to is not None or system in self._fine or is_standard(system):
            return Fact(system, code, display)
        return Fact(system, code, display, f"{system}|{code}")


def _wrong(cells: list[str]) -> str:
    if len(cells) != len(HEADER):
        return f"expected {len(HEADER)} cells: {','.join(HEADER)} (a comma inside a cell needs quotes around the cell)"
    system, code, to_system, to_code, display = cells
    if not code:
        return "local_code is missing"
    if bool(to_system) != bool(to_code) or (display and not to_code):
        return "standard_system and standard_code come together, or are both left empty"
    if code == ALL and to_code:
        return "`*` says that a whole system needs no mapping: leave the other cells empty"
    if any(not cell.isprintable() for cell in cells) or any(" " in cell for cell in (system, to_system)):
        return "a system may hold no blank, and no cell a control character"
    return ""


AS_SENT = Codes(as_sent=True)


class Reading:
    """Reads the codes of resources as facts; ``unmapped`` collects the local ones that have no standard code."""

    def __init__(self, codes: Codes = AS_SENT) -> None:
        self._fact = codes.fact
        self.unmapped: set[Code] = set()

    def concept(self, concept: Any) -> Fact:
        """The code of a CodeableConcept: its first coding; where that is local and not mapped, the first other one that
        is not. `NOTHING` where there is no coding.
        """
        if absent(concept) or concept.coding is UNSET:
            return NOTHING
        first = self._fact(concept.coding[0])
        if not first.unmapped:
            return first
        for coding in concept.coding[1:]:
            other = self._fact(coding)
            if other.code and not other.unmapped:
                return other._replace(local=first.local)
        self.unmapped.add((first.system, first.code))
        return first

    def coding(self, coding: Any) -> Fact:
        """The code of a Coding; `NOTHING` where there is none."""
        if absent(coding):
            return NOTHING
        fact = self._fact(coding)
        if fact.unmapped:
            self.unmapped.add((fact.system, fact.code))
        return fact

    def pairs(self, concept: Any) -> list[Code]:
        """System and code of each coding of a CodeableConcept, before a local one what it stands for."""
        if absent(concept) or concept.coding is UNSET:
            return []
        found: list[Code] = []
        facts = [fact for coding in concept.coding if (fact := self._fact(coding)).code]
        for fact in facts:
            found.append((fact.system, fact.code))
            if fact.local and not fact.unmapped:
                system, _, code = fact.local.partition("|")
                found.append((system, code))
        if facts and all(fact.unmapped for fact in facts):
            self.unmapped.add(found[0])
        return found
