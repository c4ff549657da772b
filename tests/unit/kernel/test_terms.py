"""What an operator asks for in its manifest: code map and checks of its own."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from epicrisis.codec import Catalogue, Codec, Dictionaries, MemoryKeyStore
from epicrisis.errors import Malformed, Refused, SettingsError
from epicrisis.found import services
from epicrisis.intake import Intake, terms
from epicrisis.intake.identity import Digests
from epicrisis.intake.memory import MemoryInbox
from epicrisis.intake.terms import terms_of
from epicrisis.journal.memory import MemoryJournal
from epicrisis.operators import read_operators

MANIFEST = 'title = "North"\ncountry = "FI"\nclinics = ["north"]\n'
MAP = "local_system,local_code,standard_system,standard_code,display\nurn:l,K,http://loinc.org,2823-3,\n"


def only_unknown_gender(resource_type: str, parsed: Any, raw: bytes) -> None:
    """A check as a profile package would bring it."""
    if resource_type == "Patient" and parsed.gender != "unknown":
        raise Malformed("this profile has no place for it", where="Patient.gender")


@pytest.fixture
def operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    points = EntryPoints([EntryPoint("north-profile", f"{__name__}:only_unknown_gender", terms.CHECKS)])
    monkeypatch.setattr(terms, "entry_points", lambda **wanted: points.select(**wanted))
    for name, more in {"plain": "", "north": 'codes = "codes.csv"\nchecks = ["north-profile"]\n'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.toml").write_text(MANIFEST + more)
        (tmp_path / name / "codes.csv").write_text(MAP)
    return tmp_path


def test_an_operator_has_what_its_manifest_names(operators: Path) -> None:
    found = terms_of(read_operators(operators))
    assert found["north"].codes.knows("urn:l", "K")
    assert found["north"].checks == (only_unknown_gender,)
    assert not found["plain"].codes.knows("urn:l", "K")
    assert found["plain"].checks == ()


def test_a_check_that_is_not_installed_is_named(operators: Path) -> None:
    (operators / "north" / "manifest.toml").write_text(MANIFEST + 'checks = ["os.system"]\n')
    with pytest.raises(SettingsError, match=r"north/manifest\.toml: the check os\.system is not installed"):
        terms_of(read_operators(operators))


def test_a_wrong_code_map_is_named(operators: Path) -> None:
    (operators / "north" / "codes.csv").write_text(MAP + "x\n")
    with pytest.raises(SettingsError, match=r"north/codes\.csv line 3: expected 5 cells"):
        terms_of(read_operators(operators))


def test_the_checks_of_an_operator_are_for_its_messages_alone(operators: Path) -> None:
    intake = Intake(
        services=services(),
        journals={name: MemoryJournal(name) for name in services()},
        inbox=MemoryInbox(),
        codec=Codec(Catalogue.load(), Dictionaries.load()),
        keys=MemoryKeyStore(),
        digests=Digests(bytes(32)),
        terms=terms_of(read_operators(operators)),
    )
    raw = b'{"resourceType":"Patient","id":"a","gender":"female"}'
    for checked in (None, intake.check(raw)):
        with pytest.raises(Refused, match=r"Patient\.gender: this profile"):
            intake.receive(raw, operator="north", clinic="north/north", door="test", checked=checked)
    with pytest.raises(Refused, match="this profile"):
        intake.check(raw, operator="north")
    assert intake.receive(raw, operator="plain", clinic="plain/north", door="test", checked=checked).total == 1
