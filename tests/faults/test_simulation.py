"""The production code of every role on servers in memory that fail in every way: seeds, and drawn faults.

A violation names its seed, and the command that shows what happened: ``python -m tests.faults.simulation --seed N``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from epicrisis.logging import configure
from tests.faults.simulation import model
from tests.faults.simulation.run import many, quiet, report
from tests.faults.simulation.world import RATES, World
from tests.infra import CHECKOUT

SEEDS = int(os.environ.get("EPICRISIS_SIM_SEEDS", "10000"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_lives_end_well() -> None:
    outcome = many(0, SEEDS)
    assert not outcome.violations, f"\n{report(outcome)}"
    assert outcome.seeds == SEEDS
    usual = {"kill", "freeze", "cut", "kill after", "cut after", "send lost", "rebalance", "redeliver", "watch lost"}
    assert usual <= outcome.faults.keys(), "what never happens proves nothing"
    assert outcome.events > SEEDS


def test_a_seed_lives_the_same_life_in_another_process() -> None:
    lives = {
        sha256(
            subprocess.run(
                [sys.executable, "-m", "tests.faults.simulation", "--seed", "7"],
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONHASHSEED": hashes},
                capture_output=True,
                check=True,
            ).stdout
        ).hexdigest()
        for hashes in ("1", "2", "3")
    }
    assert len(lives) == 1


class Drawn(RuleBasedStateMachine):
    """Every fault is drawn: what breaks is made as small as it can be."""

    @initialize(
        seed=st.integers(0, 2**32),
        partitions=st.sampled_from((1, 2, 4)),
        relays=st.integers(1, 2),
        workers=st.integers(1, 3),
        wakes=st.booleans(),
    )
    def begin(self, seed: int, partitions: int, relays: int, workers: int, wakes: bool) -> None:
        quiet()
        self.world = World(Random(seed), partitions=partitions, relays=relays, workers=workers, wakes=wakes)
        self.sent = 0

    @precondition(lambda self: self.sent < 8)
    @rule(message=st.integers(0, 200))
    def send(self, message: int) -> None:
        self.sent += 1
        self.world.send(model.message(Random(message)), f"sender {self.sent}")

    @rule(steps=st.integers(1, 80))
    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.world.schedule.step()

    @rule(who=st.integers(0, 30), how=st.sampled_from(("kill", "freeze", "cut")))
    def doom(self, who: int, how: str) -> None:
        """The next thing that this process does."""
        processes = self.world.schedule.processes
        processes[who % len(processes)].doom = how

    @rule(who=st.integers(0, 30))
    def kill(self, who: int) -> None:
        processes = [p for p in self.world.schedule.processes if p.host is p]
        self.world.schedule.kill(processes[who % len(processes)])

    @rule(kind=st.sampled_from([k for k in RATES if k not in ("kill", "freeze", "cut", "garbage", "jump", "late")]))
    def weather(self, kind: str) -> None:
        """From now on this goes wrong often."""
        schedule = self.world.schedule
        schedule.rates = {kind: 0.3}
        schedule.faulty = True

    @rule()
    def calm(self) -> None:
        self.world.schedule.faulty = False

    @rule(seconds=st.sampled_from((-30.0, -5.0, 5.0, 30.0)))
    def jump(self, seconds: float) -> None:
        self.world.jump(seconds)

    @rule()
    def garbage(self) -> None:
        self.world.add_garbage()

    @rule()
    def late(self) -> None:
        self.world.log.arrive()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.rest()
            finally:
                self.world.stop()
                configure("test", strict=True)  # for the tests that come after


Drawn.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestDrawnFaults = pytest.mark.timeout(600)(Drawn.TestCase)
