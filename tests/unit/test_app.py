"""What a command says when something unexpected happens."""

from __future__ import annotations

import json
import logging as stdlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from kafka.errors import KafkaTimeoutError
from typer.testing import CliRunner

from epicrisis import logging
from epicrisis.cli.app import app, main, unexpected


def test_a_command_that_looks_does_not_wait_for_what_only_roles_need() -> None:
    script = "import sys, epicrisis.assembly; print({'kafka', 'structlog', 'prometheus_client'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "set()"


@pytest.fixture
def heard(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    with capsys.disabled():
        logging.configure("test", strict=True)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("words", [("relay", "--service", "nope"), ("serve", "--relay", "--service", "nope")])
def test_a_role_for_a_service_that_does_not_exist_does_not_wait_for_it(words: tuple[str, ...]) -> None:
    import epicrisis.cli.roles  # noqa: F401

    result = CliRunner().invoke(app, words)
    assert str(result.exception).startswith("no service nope; there are: access_audit, chart")


@pytest.mark.usefixtures("heard")
def test_what_fails_because_of_ctrl_c_is_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(**_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise psycopg.OperationalError("the session is lost")

    module = sys.modules[main.__module__]
    monkeypatch.setattr(module, "COMMAND_MODULES", ())
    monkeypatch.setattr(module, "app", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130


def epicrisis(*words: str, **more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "epicrisis", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **more)  # type: ignore[call-overload, no-any-return]


def test_who_has_seen_enough_makes_no_error() -> None:
    looks = epicrisis("schema", "list", stdout=subprocess.PIPE)
    assert looks.stdout is not None
    looks.stdout.close()
    assert (looks.communicate()[1], looks.returncode) == (b"", 0)


def test_a_disk_that_is_full_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        writes = epicrisis("schema", "list", stdout=full)
        said = writes.communicate()[1].splitlines()
    assert said[0] == b"epicrisis: no more can be written: No space left on device"
    assert writes.returncode not in (0, None)


def test_what_a_terminal_cannot_show_is_shown_by_its_number(tmp_path: Path) -> None:
    message = tmp_path / "a28.hl7"
    message.write_text(
        "MSH|^~\\&|HIS|A|||20260301083000||ADT^A28|1|P|2.5\rPID|1||4^^^A^MR||Περσεύς^A\r", encoding="utf-8"
    )
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    looks = epicrisis("hl7v2", "map", str(message), stdout=subprocess.PIPE, env=latin)
    shown, said = looks.communicate()
    assert (json.loads(shown)["entry"][0]["resource"]["name"][0]["family"], said) == ("Περσεύς", b"")


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("role", [False, True])
def test_of_what_libraries_say_only_a_role_repeats_something(
    role: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(**_: object) -> None:
        if role:
            logging.configure("work")
        for library in ("kafka.net.transport", "psycopg.pool"):
            stdlib.getLogger(library).warning("error connecting in %r", "pool-1")

    module = sys.modules[main.__module__]
    monkeypatch.setattr(module, "COMMAND_MODULES", ())  # they would register their commands on this one
    monkeypatch.setattr(module, "app", command)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.count("error connecting") == role  # a pool's warning says nothing to anybody


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.errors.DiskFull("could not extend file"), "no space left"),
        (psycopg.OperationalError("connection refused"), "a server does not answer"),
        (psycopg.errors.AdminShutdown("terminating connection"), "a server does not answer"),
        (psycopg.errors.CannotConnectNow("the database system is starting up"), "a server does not answer"),
        (ConnectionResetError("reset by peer"), "a server does not answer"),
        (
            PermissionError(13, "Meier", "/state/operators/a/manifest.toml"),
            "/state/operators/a/manifest.toml: Permission",
        ),
        (OSError(28, "Meier"), "no more can be written: No space left"),
        (KafkaTimeoutError("Unable to bootstrap from 10.0.0.1:9092"), "a server does not answer"),
        (psycopg.errors.UniqueViolation("Key (name)=(Meier) exists"), "a defect"),
    ],
)
def test_an_error_is_told_in_one_line_without_its_own_words(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        unexpected(error)
    assert end.value.code == 1
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line
    assert str(error) not in line
