"""Loops that try again what fails: later each time, and soon again once they got on."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from kafka.errors import KafkaConnectionError

from epicrisis.codec import MemoryKeyStore
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.memory import MemoryStore
from epicrisis.settings import Settings
from epicrisis.stopping import BACK_OFF_SECONDS, back_off
from epicrisis.worker import Worker
from tests.unit.codec.events import codec


class Patience:
    """Nobody waits in it; after so many waits it is given."""

    def __init__(self, most: int) -> None:
        self.waits: list[float | None] = []
        self._most = most

    def is_set(self) -> bool:
        return len(self.waits) >= self._most

    def set(self) -> None:
        self._most = 0

    def clear(self) -> None:
        raise AssertionError

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


class Consumer:
    """Answers some polls, then never again."""

    def __init__(self, topic: str, polls: int) -> None:
        self._topic, self._polls = topic, polls

    def subscribe(self, *_: Any, **__: Any) -> None:
        pass

    def topics(self) -> set[str]:
        return {self._topic}

    def poll(self, **_: Any) -> dict[Any, Any]:
        self._polls -= 1
        if self._polls < 0:
            raise KafkaConnectionError
        return {}

    def close(self, autocommit: bool) -> None:
        pass


def waits_of(tmp_path: Path, times: int, *, polls: int) -> list[float | None]:
    settings, patience = Settings(state=tmp_path), Patience(times)
    Worker(
        settings,
        (),
        store=MemoryStore(),
        decoder=Decoder(codec(), MemoryKeyStore(), ()),
        missing=lambda *_: [],
        connect=lambda: Consumer(settings.topic(), polls),
        stop=patience,
        clock=count(0.0, 10.0).__next__,  # it is always time to look for gaps
    ).run()
    return patience.waits


def test_nothing_is_given_up_however_often_it_fails() -> None:
    waits = [back_off(failures) for failures in range(1, 5_000)]
    assert waits[:3] == [0.2, 0.4, 0.8]
    assert waits == sorted(waits)
    assert waits[-1] == BACK_OFF_SECONDS


def test_a_worker_waits_for_a_broker_that_is_away_all_day(tmp_path: Path) -> None:
    waits = waits_of(tmp_path, 1_500, polls=0)
    assert waits == [back_off(failures) for failures in range(1, 1_501)]


def test_a_worker_that_got_on_meanwhile_tries_again_at_once(tmp_path: Path) -> None:
    assert waits_of(tmp_path, 10, polls=2) == [back_off(1)] * 10
