"""What a command says when something unexpected happens."""

from __future__ import annotations

import logging as stdlib
import subprocess
import sys
from collections.abc import Iterator

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
