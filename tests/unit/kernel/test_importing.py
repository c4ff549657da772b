"""Import: what is refused at first is read again, once others have gone in."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import orjson
import pytest

from epicrisis.errors import Refused
from epicrisis.fhir.gate import Checked, Gate
from epicrisis.importing import Report, files, import_files
from epicrisis.intake import Intake, Receipt

LINES, LONG = 60, 50_000


class Patients:
    """Takes Patients in, and Observations when there is one; no Basic ever. ``between`` is called when the first one
    comes.
    """

    def __init__(self, between: Callable[[], object] = lambda: None) -> None:
        self.taken: list[str] = []
        self._between = between

    def check(self, raw: bytes) -> Checked:
        return Gate().check(raw)

    def receive(self, raw: bytes, *, checked: Checked, **_: Any) -> Receipt:
        kind = str(checked.resource_type)
        if kind == "Patient":
            self._between()
        elif kind == "Basic":
            raise Refused("never")
        elif "Patient" not in self.taken:
            raise Refused("send the Patient first")
        self.taken.append(kind)
        return Receipt(UUID(int=1), 1)


def observations(path: Path, number: int = LINES) -> Path:
    one = {"resourceType": "Observation", "status": "final", "code": {"text": "x" * LONG}}
    one["subject"] = {"reference": "Patient/p"}
    path.write_bytes((orjson.dumps(one) + b"\n") * number)
    return path


def patient(path: Path) -> Path:
    path.write_bytes(b'{"resourceType": "Patient", "id": "p"}\n')
    return path


def imported(paths: list[Path], door: Patients) -> Report:
    return import_files(paths, cast(Intake, door), operator="o", clinic="o/c")


def test_what_waits_for_a_later_file_goes_in_and_is_not_held_meanwhile(tmp_path: Path) -> None:
    paths = [observations(tmp_path / "Observation.ndjson"), patient(tmp_path / "Patient.ndjson")]
    imported(paths, Patients())  # what is made once is made
    door = Patients()
    tracemalloc.start()
    try:
        report = imported(paths, door)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.refused, report.messages) == ([], LINES + 1)
    assert door.taken == ["Patient", *["Observation"] * LINES]
    assert peak < LINES * LONG / 2


@pytest.mark.parametrize("how", [lambda path: path.unlink(), lambda path: observations(path, 1)])
def test_what_is_gone_when_it_is_read_again_stays_refused(tmp_path: Path, how: Callable[[Path], object]) -> None:
    first = observations(tmp_path / "Observation.ndjson", 2)
    report = imported([first, patient(tmp_path / "Patient.ndjson")], Patients(lambda: how(first)))
    there = 1 if first.exists() else 0
    assert report.messages == 1 + there
    assert report.refused == [(f"{first} line {n}", "send the Patient first") for n in (1, 2)[there:]]


def test_each_line_that_is_read_again_is_the_one_that_waited(tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.ndjson"
    (waits,) = observations(mixed, 1).read_bytes().splitlines()
    never = b'{"resourceType": "Basic", "code": {"text": "x"}}'
    mixed.write_bytes(b"\n".join([b'{"resourceType": "Patient", "gender": 1}', waits, never, waits]))
    door = Patients()
    report = imported([mixed, patient(tmp_path / "patient.ndjson")], door)
    assert door.taken == ["Patient", "Observation", "Observation"]
    assert [place for place, _ in report.refused] == [f"{mixed} line {n}" for n in (1, 3)]
    assert [why == "never" for _, why in report.refused] == [False, True]


def test_a_file_that_is_named_twice_is_one(tmp_path: Path) -> None:
    one = patient(tmp_path / "Patient.ndjson")
    assert files([one, tmp_path, one]) == [one]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "a" / "closed"
    inside.mkdir(parents=True)
    (inside / "one.json").write_bytes(b"{}")
    (inside / "up").symlink_to("..")
    assert files([tmp_path]) == [inside / "one.json"]
    listed = os.scandir

    def closed(at: str) -> Any:
        if Path(at) == inside:
            raise PermissionError(13, "Permission denied", at)
        return listed(at)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(Refused, match=f"{inside}: cannot be read: Permission denied"):
        files([tmp_path])


def test_what_cannot_be_read_twice_is_not_called_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(Refused, match="save it as a file"):
        files([tmp_path / "pipe.json"])
    with pytest.raises(Refused, match="there is no such file"):
        files([tmp_path / "nothing.json"])
