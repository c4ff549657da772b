"""Fuzz by hand: `python -m tests.fuzz [target ...] --seconds 600`. What fails is kept in tests/corpus/found."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from hashlib import sha256
from random import Random, SystemRandom

from epicrisis import logging
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import CORPUS, TARGETS

HTTP = "http"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS, HTTP], default=[])
    parser.add_argument("--seconds", type=float, default=60, help="in all")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    given = parser.parse_args()
    logging.configure("fuzz", strict=True, level=50)
    names = given.targets or [*TARGETS, HTTP]
    print(f"seed {given.seed}; {given.seconds / len(names):.0f} s each")
    return max(_fuzz(name, given.seconds / len(names), Random(f"{given.seed} {name}")) for name in names)


def _http(seconds: float, random: Random) -> int:
    """The writing half of the door, on doubles; the whole of a running one: docs/explanation/gate.md."""
    from tests.fuzz.http import fuzz
    from tests.unit.doors.support import House

    rounds, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            fuzz(House().client.app, "Bearer charite", 20, seed=random.randrange(2**32))
        except Exception:
            traceback.print_exc()
            return 1
        rounds += 1
    print(f"{HTTP}: {rounds} rounds of 20 requests to each operation, nothing found")
    return 0


def _fuzz(name: str, seconds: float, random: Random) -> int:
    if name == HTTP:
        return _http(seconds, random)
    target, count, failures = TARGETS[name], 0, set[str]()
    seeds, end = target.seeds(), time.monotonic() + seconds
    while time.monotonic() < end:
        raw = mutated(seeds, random)
        count += 1
        try:
            target.run(raw)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} at {where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            if what not in failures:
                failures.add(what)
                path = CORPUS / "found" / f"{name}-{sha256(raw).hexdigest()[:8]}"
                path.write_bytes(raw)
                print(f"{name}: {what}: {path}")
                traceback.print_exc()
    print(f"{name}: {count} inputs, {len(failures)} kinds of failure")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
