"""Fixtures for all tests. The servers come up once, when the first test asks for them."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest

from epicrisis import logging
from epicrisis.settings import Settings
from tests import infra

# No test depends on the clock: neither on how long an example takes, nor on how fast examples are made.
hypothesis.settings.register_profile(
    "epicrisis", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("epicrisis")

TESTS = infra.CHECKOUT / "tests"
UNIT = TESTS / "unit"
LONGEST_FIRST = ("faults", "acceptance", "integration", "contract", "unit")


def pytest_report_header() -> str:
    return infra.header()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders with the longest files first, each in its random order: at the end no worker waits for another."""
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))


@pytest.fixture(scope="session", autouse=True)
def strict_logs() -> None:
    """A log field that is not allowed fails the test that wrote it."""
    logging.configure("test", strict=True)


@pytest.fixture(autouse=True)
def unit_tests_stay_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests open no connection, and see no setting of the machine that they run on."""
    if not request.path.is_relative_to(UNIT):
        return

    def refuse(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("a unit test tried to open a connection: use a double, or move the test to tests/integration")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    if (psycopg := sys.modules.get("psycopg")) is not None:  # libpq opens its sockets itself
        monkeypatch.setattr(psycopg, "connect", refuse)
        monkeypatch.setattr(psycopg.Connection, "connect", refuse)
    for name in os.environ:
        if name.startswith("EPICRISIS_") and name != "EPICRISIS_SHARED_DATA":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Running servers, as keyword arguments for `Settings`."""
    with infra.servers(tmp_path_factory.mktemp("state")) as found:
        yield found


@pytest.fixture(scope="session")
def settings(servers: dict[str, Any]) -> Settings:
    """Settings with a namespace of this test run's own. Nothing is provisioned: ask for `cluster` if you need it."""
    return Settings(**servers, namespace=f"t_{secrets.token_hex(3)}")


@pytest.fixture(scope="session")
def cluster(settings: Settings) -> Iterator[Settings]:
    """The same settings, with databases, roles, topics and rights; all dropped at the end."""
    from epicrisis.provision import drop, provision

    provision(settings)
    try:
        yield settings
    finally:
        drop(settings)
        settings.forget_secrets()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with public test data; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("EPICRISIS_SHARED_DATA", infra.CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"not run: no public test data at {folder} (EPICRISIS_SHARED_DATA names it)")
    return folder
