"""The relay's threads: whatever goes wrong, a pump goes on, or says that it does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from epicrisis import relay
from epicrisis.settings import Settings

SETTINGS = {"kafka_bootstrap": "nowhere:1", "dsns": {"chart": "host=nowhere"}}


class Broken:
    """A database that fails ``times`` times with an error that nobody expects, and then says that it is well."""

    def __init__(self, times: int) -> None:
        self.times, self.looks, self.well = times, 0, threading.Event()

    def __call__(self, *_: Any, **__: Any) -> Broken:
        return self

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        self.looks += 1
        if self.looks <= self.times:
            raise ZeroDivisionError("Meier, 1971-03-04")
        self.well.set()
        yield self

    def execute(self, *_: Any) -> None: ...

    def fetchone(self) -> tuple[int]:
        return (1,)

    def fetchall(self) -> list[Any]:
        return []

    def close(self) -> None: ...


def test_a_pump_survives_an_error_that_nobody_expects(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    database = Broken(times=3)
    monkeypatch.setattr(relay, "Database", database)
    one = relay.Relay(Settings(**SETTINGS), ["chart"])
    one.start()
    assert database.well.wait(10), "the pump has ended"
    one.stop()
    err = capfd.readouterr().err
    assert err.count("ZeroDivisionError") == 3
    assert "Meier" not in err


def test_a_pump_that_cannot_be_closed_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    database = Broken(times=0)
    monkeypatch.setattr(relay, "Database", database)
    one = relay.Relay(Settings(**SETTINGS), ["chart"])
    one.start()
    assert database.well.wait(10)
    database.times = 10**9
    one.stop()
    assert "relay not closed" in capfd.readouterr().err
