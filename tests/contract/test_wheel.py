"""The wheel, outside the checkout: an editable install hides missing files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from epicrisis.local.roles import ROLES
from tests.infra import CHECKOUT

PACKAGES = ("epicrisis", "schemas", "services", "projections")
NOT_SHIPPED = {".pyc"}
PARTS = ("kafka", "postgres", *ROLES)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone in a folder: what it depends on comes from this environment, the checkout does not."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, state: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("EPICRISIS_", "PYTHON"))}
    env |= {"PYTHONPATH": str(installed), "EPICRISIS_STATE": str(state)}
    command = [sys.executable, "-m", "epicrisis", *args]
    return subprocess.run(command, env=env, cwd=installed.parent, capture_output=True, text=True, check=False)


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    committed = subprocess.run(
        ["git", "ls-files", "--", *PACKAGES], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if committed.returncode != 0:
        pytest.skip("not run: not a git checkout")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    here = {name for name in committed.stdout.splitlines() if (CHECKOUT / name).exists()}
    assert not here - shipped
    assert not {name for name in shipped if Path(name).suffix in NOT_SHIPPED}


def test_the_wheel_can_never_be_published(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        assert "Classifier: Private :: Do Not Upload" in archive.read(metadata).decode()


def test_the_code_that_runs_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import epicrisis, schemas; print(epicrisis.__file__, schemas.__file__)"
    found = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.count(str(installed)) == 2


def test_the_doctor_works_outside_the_checkout_and_before_up(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path / "state", "doctor", "--format", "json")
    assert done.returncode == 1, done.stderr
    found = {row["part"]: row for row in json.loads(done.stdout)}
    assert found["python"]["ok"]
    assert found["java"]["ok"], found["java"]
    assert not found["kafka"]["ok"]
    assert "epicrisis up" in found["kafka"]["do"]
    assert "epicrisis up" in found["postgres"]["do"]
    assert not (tmp_path / "state").exists()  # it only looks


def test_every_command_has_help(installed: Path, tmp_path: Path) -> None:
    for command in ("up", "down", "status", "doctor", "lag"):
        shown = run(installed, tmp_path / "state", command, "--help")
        assert shown.returncode == 0, shown.stderr
        assert "Example: epicrisis" in shown.stdout


def test_exit_codes_tell_wrong_usage_from_errors(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path / "state", "no-such-command").returncode == 2
    assert run(installed, tmp_path / "state", "status", "--format", "xml").returncode == 2
    (tmp_path / "file").touch()
    failed = run(installed, tmp_path / "file" / "state", "up")
    assert failed.returncode == 1
    assert failed.stderr.startswith("epicrisis: cannot make the state folder")
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("csv", "name,state,where,pid\n" + "".join(f"{name},stopped,,\n" for name in PARTS)),
        (
            "ndjson",
            "".join(f'{{"name":"{name}","state":"stopped","where":"","pid":null}}\n' for name in PARTS),
        ),
    ],
)
def test_status_speaks_the_formats_that_programs_read(
    form: str, expected: str, installed: Path, tmp_path: Path
) -> None:
    assert run(installed, tmp_path / "state", "status", "--format", form).stdout == expected
