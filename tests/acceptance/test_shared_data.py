"""All public test data goes in, or is refused for a reason that is true."""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from epicrisis.assembly import intake
from epicrisis.importing import Report, files, import_files
from epicrisis.intake import Intake
from epicrisis.settings import Settings
from tests.acceptance import support
from tests.acceptance.support import caught_up, installation, journal_counts, roles

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(400)]

EXAMPLES = ("hl7-r4-examples", "us-core-examples", "de-isik", "kr-core", "ihe-balp")
UNKNOWN = "a reference names a Patient that is not known here: send the Patient first"


class Refusal(NamedTuple):
    """Why a file is refused. ``patient``: the one it waits for; ``cascade``: which is refused itself."""

    why: str
    told: str
    patient: str | None
    cascade: bool


def expected() -> dict[tuple[str, str], Refusal]:
    table = tomllib.loads(Path(__file__).with_name("refused_examples.toml").read_text(encoding="utf-8"))
    return {
        (group["folder"], name): Refusal(group["why"], group["told"], group.get("patient"), group.get("cascade", False))
        for group in table["refused"]
        for name in group["files"].split()
    }


def read(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw


def name_of(path: Path | str) -> str:
    return re.sub(r"\.json(\.gz)?$", "", Path(path).name)


def patients_named_in(path: Path) -> set[str]:
    return set(re.findall(r'"reference"\s*:\s*"Patient/([^"/]+)', read(path).decode()))


@pytest.fixture(scope="module")
def ours(servers: dict[str, Any], shared_data: Path) -> Iterator[Settings]:
    with installation(servers) as settings, roles(settings, ("relay",), ("work",)):
        yield settings


@pytest.fixture(scope="module")
def way_in(ours: Settings) -> Intake:
    return intake(ours)


def take(way_in: Intake, paths: list[Path], operator: str) -> Report:
    return import_files(paths, way_in, operator=operator, clinic=f"{operator}/main")


def synthea_2021(shared_data: Path) -> list[Path]:
    """Patients before the infrastructure that their conditional references name."""
    folder = shared_data / "synthea-2021-uscore"
    return [*files([folder / "patients"]), *files([folder / "infrastructure"])]


def test_all_120_synthea_patients_and_all_examples_go_in_or_are_refused_for_a_true_reason(
    ours: Settings, way_in: Intake, shared_data: Path
) -> None:
    jobs = {
        "synthea": support.synthea(shared_data, "infrastructure", "general", "oncology"),
        "uscore2021": synthea_2021(shared_data),
        **{folder: files([shared_data / folder]) for folder in EXAMPLES},
    }
    reports = {operator: take(way_in, paths, operator) for operator, paths in jobs.items()}

    assert reports["synthea"].refused == []
    assert reports["synthea"].resources["Patient"] == 100
    assert reports["uscore2021"].refused == []
    assert reports["uscore2021"].resources["Patient"] == 20
    sent = {folder: {name_of(p) for p in jobs[folder]} for folder in EXAMPLES}
    told = {(f, name_of(place)): text for f in EXAMPLES for place, text in reports[f].refused}
    reasons = expected()
    assert told.keys() == reasons.keys()
    assert all(name in sent[folder] for folder, name in reasons)
    for key, text in told.items():
        assert reasons[key].told in text, key
    for folder in EXAMPLES:
        assert reports[folder].messages == len(jobs[folder]) - len(reports[folder].refused)

    table = Counter(reason.why for reason in reasons.values())
    for why, count in table.most_common():
        print(f"{count:4} {why}")

    before = journal_counts(ours)
    for operator, paths in jobs.items():
        again = take(way_in, paths if operator in EXAMPLES else paths[::4], operator)
        assert not again.events
        assert again.repeated == again.messages
        if operator in EXAMPLES:
            assert again.messages == reports[operator].messages
            assert again.refused == reports[operator].refused
    assert journal_counts(ours) == before

    caught_up(ours)
    assert support.ledger_total(ours) == sum(before.values())
    assert not support.rows(ours, "cluster", "SELECT 1 FROM projection.parked")
    assert not support.rows(ours, "cluster", "SELECT 1 FROM projection.poison")
    roster = support.rows(
        ours,
        "cluster",
        "SELECT clinic_id, count(*) FROM read.clinic_patients WHERE clinic_id ~ '^(syn|usc)' GROUP BY 1",
    )
    assert dict(roster) == {"synthea/main": 100, "uscore2021/main": 20}


def test_the_reasons_given_for_missing_patients_are_true(shared_data: Path) -> None:
    """Looked up in the files themselves, without our code."""
    there = {
        folder: {
            resource["id"]
            for path in files([shared_data / folder])
            if (resource := json.loads(read(path))).get("resourceType") == "Patient"
        }
        for folder in EXAMPLES
    }
    paths = {(folder, name_of(p)): p for folder in EXAMPLES for p in files([shared_data / folder])}
    for (folder, name), reason in expected().items():
        if reason.patient is None:
            continue
        assert reason.patient in patients_named_in(paths[folder, name]), name
        assert (reason.patient in there[folder]) == reason.cascade, name


def test_what_waits_for_a_patient_goes_in_once_the_patient_is_known(
    ours: Settings, way_in: Intake, shared_data: Path, tmp_path: Path
) -> None:
    """Under an operator of its own, so that it does not matter which test came first."""
    for folder in EXAMPLES:
        waiting = {name: r for (f, name), r in expected().items() if f == folder and r.patient and not r.cascade}
        patients = tmp_path / folder
        patients.mkdir()
        found = [p for p in files([shared_data / folder]) if name_of(p) in waiting]
        for id_ in {id_ for path in found for id_ in patients_named_in(path)}:
            (patients / f"{id_}.json").write_text(json.dumps({"resourceType": "Patient", "id": id_}))
        # The patients come last on purpose: what refers to them is tried again.
        report = take(way_in, [*found, *files([patients])], f"later.{folder}")
        assert report.refused == []
        assert report.messages == len(found) + len(list(patients.iterdir()))


def test_without_its_infrastructure_a_patient_is_refused_and_nothing_of_it_is_kept(
    ours: Settings, way_in: Intake, shared_data: Path
) -> None:
    before = journal_counts(ours)
    report = take(way_in, synthea_2021(shared_data)[:2], "alone")
    assert not report.messages
    assert len(report.refused) == 2
    assert all("a conditional reference matches no" in text for _, text in report.refused)
    assert journal_counts(ours) == before
