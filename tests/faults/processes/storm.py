"""A storm: random faults from a seed over a running installation, with quiet spells, under watch."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.faults.processes.crew import TICK, kind_of
from tests.faults.processes.faults import FAULTS, Fault, Place
from tests.faults.processes.history import Verdict
from tests.faults.processes.sending import LANES, TRACKS
from tests.faults.processes.stage import Run, Stage

GAP = 0.12
"""Seconds between two kills, on average."""
REST_EVERY = 200
ROLES = {"relay": 2, "work": 2, "serve": 1}
WEIGHTS = {"import": 3, "relay": 2, "work": 2, "serve": 1}


class Storm:
    """One run under faults. ``happened``: how often each kind; ``ended``: how often a role ended by itself."""

    def __init__(self, stage: Stage, *, kills: int, seed: int, without: tuple[str, ...] = ()) -> None:
        self._stage, self._wanted = stage, kills
        self._chance = random.Random(seed)
        self._known = {name: fault for name, fault in FAULTS.items() if name not in without}
        self._deck: list[str] = []
        self.happened: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.looks = self.kills = 0

    def run(self) -> Verdict:
        """Until so many kills have happened and everything was checked.

        Raises
        ------
        Wrong
            The checks have found something.
        """
        with self._stage.run("storm", roles=ROLES, far=True) as run:
            place = Place(self._stage.servers, run.near, run.crew, self._chance)
            try:
                rest_at = REST_EVERY
                while self.kills < self._wanted:
                    self._round(place)
                    self._quiet(place)
                    if rest_at <= self.kills < self._wanted:
                        place.heal()
                        run.check(complete=False)
                        rest_at = self.kills + REST_EVERY
                place.heal()
                return run.check()
            finally:
                place.heal()
                self._remember(run)

    def _remember(self, run: Run) -> None:
        self.looks, self.ended = run.watching.during.looks, run.crew.ended

    def _round(self, place: Place) -> None:
        """Some faults, at the same time or one after the other, until the last has ended; kills all the while."""
        chance = self._chance
        begin: list[tuple[float, str]] = [(chance.uniform(0, 2), name) for name in self._draw()]
        end: list[tuple[float, Callable[[], None]]] = []
        began, kill_at, length = time.monotonic(), 0.0, chance.uniform(1, 2)
        while (now := time.monotonic() - began) < length or begin or end:
            self._pace(place)
            place.crew.tend()
            for at, name in [one for one in begin if one[0] <= now]:
                begin.remove((at, name))
                fault: Fault = self._known[name]
                ending = fault.begin(place)
                self.happened[name] += 1
                if ending is not None:
                    end.append((now + chance.uniform(*fault.seconds), ending))
            for one in [one for one in end if one[0] <= now]:
                end.remove(one)
                one[1]()
            if now >= kill_at and self.kills < self._wanted:
                self._kill(place)
                kill_at = now + chance.expovariate(1 / GAP)
            time.sleep(TICK)

    def _draw(self) -> list[str]:
        """Some kinds of fault: every one has its turn before one comes again."""
        count = self._chance.choice((1, 2, 2, 3))
        if len(self._deck) < count:
            self._deck = self._chance.sample(sorted(self._known), len(self._known))
        drawn, self._deck = self._deck[:count], self._deck[count:]
        return drawn

    def _quiet(self, place: Place) -> None:
        until = time.monotonic() + self._chance.uniform(0, 1.5)
        while time.monotonic() < until:
            place.crew.tend()
            time.sleep(TICK)

    def _pace(self, place: Place) -> None:
        """Senders are as fast as needed to have something to send until the last kill."""
        seconds = (self._wanted - self.kills) * GAP * 1.3
        place.crew.pace = min(1.0, 2 * LANES * TRACKS * seconds / max(1, place.crew.left()))

    def _kill(self, place: Place) -> None:
        able = sorted(n for n, role in place.crew.running.items() if role.alive and n not in place.frozen)
        if able:
            name = self._chance.choices(able, [WEIGHTS[kind_of(n)] for n in able])[0]
            place.crew.running[name].kill()
            self.kills += 1
            self.happened[f"kill -9 of {kind_of(name)}"] += 1
