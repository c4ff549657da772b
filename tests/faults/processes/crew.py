"""The roles of one installation under faults: whoever has ended is started again, as a supervisor would."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg

from epicrisis.errors import EpicrisisError
from epicrisis.lag import Lag
from epicrisis.local.process import choose_port
from epicrisis.local.state import State
from epicrisis.settings import Settings
from tests.acceptance.support import GENEROUS, rows
from tests.faults.processes.history import Acknowledged
from tests.faults.processes.roles import Role
from tests.faults.processes.sending import Lane, send

TICK = 0.03
BACK_OFF = 0.3
"""Seconds before one that ended by itself is started again."""


class Crew:
    """Relays, workers, a `serve`, and a sender per lane. ``ended``: how often one ended by itself, by kind.

    ``pace``: seconds at most between two messages of a lane.
    """

    def __init__(self, settings: Settings, logs: Path, roles: Mapping[str, int]) -> None:
        self._settings, self._logs = settings, logs
        logs.mkdir(parents=True)
        self._names = [f"{kind}-{n}" for kind, count in roles.items() for n in range(count)]
        self._port = str(choose_port(State(settings.state), f"{settings.namespace}-serve"))
        self._not_before: dict[str, float] = {}
        self.lanes: dict[str, Lane] = {}
        self.pace = 0.0
        self.sending = True
        self.running: dict[str, Role] = {}
        self.ended: Counter[str] = Counter()

    def send(self, *folders: Path) -> None:
        """More to be sent: a lane each."""
        for n, folder in enumerate(folders, len(self.lanes)):
            self.lanes[f"import-{n}"] = Lane(folder, self._logs / f"{n}.answers")

    def tend(self) -> None:
        """Start whoever should run and does not."""
        for name in [*self._names, *self.lanes]:
            role = self.running.get(name)
            if role is not None and role.alive:
                continue
            if role is not None and role.code not in (0, -9):
                self.ended[kind_of(name)] += 1
                self._not_before[name] = time.monotonic() + BACK_OFF
                del self.running[name]
            if time.monotonic() < self._not_before.get(name, 0.0):
                continue
            if name in self.lanes and (not self.sending or self.lanes[name].done()):
                self.running.pop(name, None)
                continue
            self.running[name] = self._start(name)

    def _start(self, name: str) -> Role:
        log = self._logs / f"{name}.log"
        if (lane := self.lanes.get(name)) is not None:
            words = str(lane.folder), str(lane.answers), f"{self.pace:.3f}"
            return Role(self._settings, log, *words, work=send)
        kind = kind_of(name)
        return Role(self._settings, log, kind, *(["--port", self._port] if kind == "serve" else []))

    def acknowledged(self) -> list[Acknowledged]:
        """Every answer that a sender got."""
        return [answer for lane in self.lanes.values() for answer in lane.acknowledged()]

    def sends(self) -> bool:
        """Whether any sender is there."""
        return any(name in self.running for name in self.lanes)

    def done(self) -> bool:
        """Whether every message was answered."""
        return not self.left()

    def left(self) -> int:
        """How many messages are without an answer."""
        return sum(len(lane.paths) - len(lane.answered()) for lane in self.lanes.values())

    def until(self, happened: Callable[[], object], what: str, seconds: float = 3 * GENEROUS) -> None:
        """Wait, with everybody at work."""
        deadline = time.monotonic() + seconds
        while not happened():
            self.tend()
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
            time.sleep(TICK)

    def come_to_rest(self, settings: Settings) -> None:
        """Wait, with everybody at work, until no message is unfinished and every event is applied."""
        lag = Lag(settings)
        busy = "SELECT 1 FROM inbox.busy LIMIT 1"

        def rests() -> bool:
            try:
                if rows(settings, "intake", busy):
                    return False
                lag.wait(0.5, ["ledger"])
            except (EpicrisisError, psycopg.OperationalError):
                return False
            return True

        try:
            self.until(rests, "everything comes to rest")
        finally:
            lag.close()

    def said(self, kind: str) -> str:
        """What all roles of a kind have logged."""
        return "".join(log.read_text(encoding="utf-8") for log in sorted(self._logs.glob(f"{kind}-*.log")))

    def stop(self, *, kill: bool = False) -> None:
        """End everybody."""
        for role in self.running.values():
            role.kill() if kill else role.stop()
        self.running.clear()


def kind_of(name: str) -> str:
    """``relay`` of ``relay-1``."""
    return name.rsplit("-", 1)[0]
