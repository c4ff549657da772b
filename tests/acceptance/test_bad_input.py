"""Whatever a hostile or clumsy sender sends: one clear line each, nothing half-written, no value repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from epicrisis.assembly import intake
from epicrisis.importing import import_files
from epicrisis.intake import Intake
from epicrisis.settings import Settings
from tests.acceptance import bad_files, support
from tests.acceptance.bad_files import BAD, GOOD, GOOD_LINES, GOOD_RESOURCES, SECRET, Bad
from tests.acceptance.support import inbox_counts, installation, journal_counts

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def ours(servers: dict[str, Any]) -> Iterator[Settings]:
    with installation(servers) as settings:
        yield settings


@pytest.fixture(scope="module")
def way_in(ours: Settings, tmp_path_factory: pytest.TempPathFactory) -> Intake:
    """With everything in that the bad files build on."""
    made = intake(ours)
    folder = tmp_path_factory.mktemp("good")
    for name, content in GOOD.items():
        (folder / name).write_bytes(content)
    assert not import_files(sorted(folder.iterdir()), made, operator="local", clinic="local/main").refused
    return made


def write(bad: Bad, folder: Path) -> Path:
    path = folder / bad.name
    if callable(bad.content):
        bad.content(path)
    else:
        path.write_bytes(bad.content)
    return path


def people(settings: Settings) -> dict[str, int]:
    """Who is known, besides the events."""
    return {
        table: support.rows(settings, "registration", f"SELECT count(*) FROM journal.{table}")[0][0]
        for table in ("identifier", "member", "head")
    }


@pytest.mark.parametrize("bad", [b for b in BAD if not b.name.endswith(".ndjson")], ids=lambda bad: bad.name)
def test_a_bad_file_gets_one_clear_line_and_nothing_of_it_is_kept(
    bad: Bad, ours: Settings, way_in: Intake, tmp_path: Path
) -> None:
    path = write(bad, tmp_path)
    before = journal_counts(ours), inbox_counts(ours)["done"], people(ours)
    report = import_files([path], way_in, operator="local", clinic="local/main")
    assert (journal_counts(ours), inbox_counts(ours)["done"], people(ours)) == before
    assert inbox_counts(ours)["received"] == 0
    [(place, why)] = report.refused
    check(bad, place, why, tmp_path)


def check(bad: Bad, place: str, why: str, folder: Path) -> None:
    assert place.startswith(str(folder / bad.name))
    assert bad.where in f"{place}: {why}"
    assert re.search(bad.why, why)
    assert "\n" not in why
    assert SECRET.lower() not in why.lower()
    assert 10 < len(why) < 250


def test_one_run_over_all_of_them_lets_the_good_ones_in(servers: dict[str, Any], tmp_path: Path) -> None:
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
    for bad in BAD:
        write(bad, tmp_path)
    with installation(servers) as settings:
        first = support.run(settings, "import", str(tmp_path), "--format", "ndjson")
        assert first.returncode == 1
        said = [json.loads(line) for line in first.stdout.splitlines()]
        found = {Path(re.sub(r" line \d+$", "", row["where"])).name: row for row in said}
        assert len(found) == len(said)
        assert found.keys() == {bad.name for bad in BAD}
        for bad in BAD:
            check(bad, found[bad.name]["where"], found[bad.name]["why"], tmp_path)
        assert inbox_counts(settings) == {"done": len(GOOD) + 1 + GOOD_LINES}
        counts = journal_counts(settings)
        kept = support.rows(settings, "chart", "SELECT count(DISTINCT stream) FROM journal.event")[0][0]
        assert kept == GOOD_RESOURCES - 5 + GOOD_LINES
        # three of ours and one of theirs, of whom one is dead; one diagnosis, recorded and refuted
        assert (counts["registration"], counts["diagnosis"]) == (5, 2)

        again = support.run(settings, "import", str(tmp_path))
        assert again.returncode == 1
        assert journal_counts(settings) == counts
        for shown in (first, again):
            everything = shown.stdout + shown.stderr
            assert "Traceback" not in everything
            assert SECRET not in everything
        assert "events: none" in again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("import", "nowhere"), "nowhere: there is no such file or folder"),
        (("import", "{here}"), "nothing to import"),
        (("import", "{here}", "--operator", "charite", "--clinic", "gemelli/onco"), "not one of charite's"),
        (("import", "{here}", "--clinic", "Char ite/onco"), "operator/site"),
        (("import", "{here}", "--operator", "../etc"), "operator/site"),
    ],
)
def test_a_wrong_command_ends_with_one_line(words: tuple[str, ...], said: str, ours: Settings, tmp_path: Path) -> None:
    done = support.run(ours, *(w.format(here=tmp_path) for w in words))
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_who_sends_it_can_be_forged_in_no_odd_way(ours: Settings, way_in: Intake, tmp_path: Path) -> None:
    """With --operator or --clinic, what a Bundle says about its sender counts for nothing."""
    path = tmp_path / "says-it-is-another.json"
    theirs = bad_files.bundle(
        bad_files.entry(bad_files.observation("Patient/theirs")), source="urn:epicrisis:clinic:other/main"
    )
    path.write_bytes(bad_files.dumps(theirs))
    report = import_files([path], way_in, operator="local", clinic="local/main", from_source=False)
    assert "send the Patient first" in report.refused[0][1]
