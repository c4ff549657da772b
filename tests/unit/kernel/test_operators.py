"""Operators' manifests: read whole, or refused with the file and the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from epicrisis.errors import SettingsError
from epicrisis.operators import read_operators

WHOLE = """
title = "North Clinic"
country = "FI"
clinics = ["north", "south"]
codes = "codes.csv"

[[client]]
id = "north-his"
clinic = "north"
scopes = ["system/*.cruds"]
jwks = "north-his.jwks.json"

[[mllp]]
application = "LAB"
facility = "SOUTH"
clinic = "south"

[inbox]
clinic = "north"
"""


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "manifest.toml").write_text(text, encoding="utf-8")


def test_a_manifest_is_read(tmp_path: Path) -> None:
    write(tmp_path, "north-op", WHOLE)
    (tmp_path / "north-op" / "codes.csv").write_bytes(b"a,b")
    found = read_operators(tmp_path)["north-op"]
    assert (found.name, found.country, found.clinics) == ("north-op", "FI", ("north", "south"))
    assert found.clinic("south") == "north-op/south"
    assert found.client[0].scopes == ("system/*.cruds",)
    assert found.inbox is not None
    assert found.inbox.partitions == 1
    assert found.read(found.codes) == b"a,b"


def test_no_folder_is_no_operators(tmp_path: Path) -> None:
    assert read_operators(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"FI"', '"Finland"', "country"),
        ('clinic = "north"\nscopes', 'clinic = "west"\nscopes', "names the clinic west, which"),
        ("codes =", "coeds =", "coeds"),
        ("[inbox]", "[inbox", "line"),
        ("title =", 'name = "x"\ntitle =', "leave out name"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in WHOLE
    write(tmp_path, "north-op", WHOLE.replace(old, new, 1))
    with pytest.raises(SettingsError, match=said) as caught:
        read_operators(tmp_path)
    assert "manifest.toml" in str(caught.value)


def test_a_folder_with_another_kind_of_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "North Op", WHOLE)
    with pytest.raises(SettingsError):
        read_operators(tmp_path)


def test_a_client_belongs_to_one_operator(tmp_path: Path) -> None:
    write(tmp_path, "one", WHOLE)
    write(tmp_path, "two", WHOLE.replace('"LAB"', '"OTHER"'))
    with pytest.raises(SettingsError, match="north-his is there twice, also in one"):
        read_operators(tmp_path)


def test_a_file_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "one", WHOLE)
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    with pytest.raises(SettingsError, match="outside"):
        read_operators(tmp_path)["one"].read("../secret")
