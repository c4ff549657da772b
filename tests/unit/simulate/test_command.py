"""The command `epicrisis simulate`."""

from __future__ import annotations

import csv
from pathlib import Path

from typer.testing import CliRunner

from epicrisis.cli import simulate  # noqa: F401  registers the command
from epicrisis.cli.app import app
from epicrisis.simulate import messages


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_it_writes_every_message_in_the_order_of_sending(tmp_path: Path) -> None:
    output = run("--patients", "6", "--seed", "3", "--out", str(tmp_path / "new"))
    written = [path.read_bytes() for path in sorted((tmp_path / "new").iterdir())]
    assert written == [message.bundle for message in messages(6, 3)]
    assert f"{len(written)} messages" in output


def test_it_shows_operators_and_resources_by_type() -> None:
    output = run("--patients", "2")
    assert "spreemed" in output
    assert "PractitionerRole" in output


def test_programs_get_rows() -> None:
    rows = list(csv.DictReader(run("--patients", "2", "--format", "csv").splitlines()))
    assert {"operator", "resource_type", "resources"} == set(rows[0])


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    result = CliRunner().invoke(app, ["simulate", "--patients", "1", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "not empty" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
