"""What a command says when something unexpected happens."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from epicrisis.cli.app import unexpected


def test_a_command_that_looks_does_not_wait_for_what_only_roles_need() -> None:
    script = "import sys, epicrisis.assembly; print({'kafka', 'structlog', 'prometheus_client'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "set()"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.errors.DiskFull("could not extend file"), "no space left"),
        (psycopg.OperationalError("connection refused"), "a server does not answer"),
        (psycopg.errors.AdminShutdown("terminating connection"), "a server does not answer"),
        (psycopg.errors.CannotConnectNow("the database system is starting up"), "a server does not answer"),
        (ConnectionResetError("reset by peer"), "a server does not answer"),
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
