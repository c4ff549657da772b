"""Run seeds, in as many processes as the machine has cores, and say what came of them.

python -m tests.faults.simulation --seeds 10000          many lives
python -m tests.faults.simulation --seed 61              one life again, with everything that happened in it
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from epicrisis.assembly import seldom_collect
from epicrisis.logging import configure
from tests.faults.simulation.world import live

CHUNK = 20


@dataclass
class Outcome:
    """What came of some seeds."""

    seeds: int = 0
    steps: int = 0
    events: int = 0
    messages: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: dict[int, str] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.events += other.events
        self.messages += other.messages
        self.faults += other.faults
        self.violations |= other.violations


def some(seeds: Iterable[int], stop_at: int) -> Outcome:
    """Live these, one after the other."""
    outcome = Outcome()
    for seed in seeds:
        if len(outcome.violations) >= stop_at:
            break
        outcome.seeds += 1
        try:
            world = live(seed)
        except Exception as error:
            outcome.violations[seed] = f"{type(error).__name__}: {error}"
            continue
        outcome.steps += world.schedule.steps
        outcome.events += len(world.truth.values)
        outcome.messages += len(world.truth.receipts)
        for fault, count in world.schedule.faults.items():
            outcome.faults[kind(fault)] += count
    return outcome


def many(first: int, count: int, processes: int = 0, stop_at: int = 5) -> Outcome:
    """Live ``count`` seeds from ``first``; stops after some violations."""
    outcome = Outcome()
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=fork, initializer=_begin) as pool:
        for done in pool.map(partial(some, stop_at=stop_at), chunks):
            outcome.add(done)
            if len(outcome.violations) >= stop_at:
                pool.shutdown(cancel_futures=True)
                break
    return outcome


def _begin() -> None:
    quiet()
    seldom_collect()


def quiet() -> None:
    """What the roles would log is in the trace, as far as it matters."""
    configure("simulation", strict=True, level=logging.CRITICAL)


def kind(fault: str) -> str:
    """A fault without the place where it happened."""
    words = fault.split()
    return (
        " ".join(words[:2])
        if words[0] in ("send", "clock", "flush", "watch", "journal")
        else " ".join(words[: 2 if len(words) > 1 and words[1] == "after" else 1])
    )


def replay(seed: int) -> str:
    """The command that lives a seed again."""
    return f"python -m tests.faults.simulation --seed {seed}"


def table(outcome: Outcome, seconds: float) -> str:
    """Everything in a table."""
    rows = [
        ("seeds", outcome.seeds),
        ("turns", outcome.steps),
        ("messages acknowledged", outcome.messages),
        ("events", outcome.events),
        *((f"fault: {name}", count) for name, count in sorted(outcome.faults.items())),
        ("violations", len(outcome.violations)),
        ("seconds", round(seconds, 1)),
    ]
    return "\n".join(f"{name:32} {value:>14,}" for name, value in rows)


def report(outcome: Outcome) -> str:
    """What was violated, and how to see it again."""
    return "\n".join(f"seed {seed}: {what}\n  {replay(seed)}" for seed, what in sorted(outcome.violations.items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulation", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=0, help="at the same time; default: as many as cores")
    parser.add_argument("--stop-at", type=int, default=5, help="so many violations are enough")
    parser.add_argument("--seed", type=int, help="this one only, with its trace")
    asked = parser.parse_args()
    quiet()
    if asked.seed is not None:
        return one(asked.seed)
    began = time.monotonic()
    outcome = many(asked.first, asked.seeds, asked.processes, asked.stop_at)
    print(table(outcome, time.monotonic() - began))
    print(report(outcome), file=sys.stderr)
    return 1 if outcome.violations else 0


def one(seed: int) -> int:
    """Live one seed and tell it."""
    trace: list[str] = []
    try:
        live(seed, trace)
    except Exception as error:
        print("\n".join(trace))
        print(f"seed {seed}: {type(error).__name__}: {error}")
        return 1
    print("\n".join(trace))
    print(f"seed {seed}: all is well after {len(trace)} lines")
    return 0
