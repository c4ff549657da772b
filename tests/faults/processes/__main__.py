"""``python -m tests.faults.processes [--kills N] [--seed N]``: every run under faults at full length, and a table.

Exit code 1 where anything was lost, doubled or out of order, or a check failed; the seed is printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from epicrisis import logging
from epicrisis.cli.output import Format, emit
from tests.faults.processes import brokers, disks
from tests.faults.processes.history import Verdict
from tests.faults.processes.roles import warm_up
from tests.faults.processes.servers import Servers, scratch_folder, servers
from tests.faults.processes.stage import Stage, Wrong
from tests.faults.processes.storm import Storm

COLUMNS = ("run", "faults", "acknowledged", "lost", "doubled", "out of order", "other", "seconds")
SHORT = 12
"""Patients, where the messages need not last long."""
Outcome = tuple[Verdict, Counter[str]]


def main() -> None:
    """Run everything; say what came of it."""
    arguments = argparse.ArgumentParser(prog="make faults", description="Faults on real processes.")
    arguments.add_argument("--kills", type=int, default=1000, help="kill -9 of roles in the storm")
    arguments.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = arguments.parse_args()
    print(f"faults: seed {given.seed}, {given.kills} kills; again with SEED={given.seed}", flush=True)
    logging.quiet()  # that brokers which we kill do not answer is no news
    warm_up()
    with scratch_folder(keep=True) as scratch, servers(scratch / "state") as running:
        if not _run(running, scratch, given.kills, given.seed):
            print(f"faults: something is wrong; seed {given.seed}; logs of all roles and servers in {scratch}")
            sys.exit(1)


def _run(running: Servers, scratch: Path, kills: int, seed: int) -> bool:
    """Whether all was well."""
    long = Stage(running, scratch / "long", patients=max(SHORT, kills // 10), seed=seed)
    short = Stage(running, scratch / "short", patients=SHORT, seed=seed)
    for stage in (long, short):
        stage.reference  # noqa: B018  (made here, so that no run pays for it)
    storm = Storm(long, kills=kills, seed=seed)
    runs: dict[str, Callable[[], Outcome]] = {
        "storm": lambda: (storm.run(), storm.happened),
        "leader killed while publishing": lambda: brokers.leaders_killed(short, 5),
        "two of three brokers down": lambda: brokers.two_of_three_down(short),
        "PostgreSQL's disk full": lambda: disks.postgres_full(short, scratch / "postgres"),
        "Kafka's disk full": lambda: disks.kafka_full(short, scratch / "kafka"),
    }
    rows = []
    for name, run in runs.items():
        print(f"faults: {name} …", flush=True)
        rows.append(_one(name, run))
    kinds = [{"fault": name, "how often": count} for name, count in storm.happened.most_common()]
    emit(kinds, ("fault", "how often"), Format.TABLE, title=f"the storm (seed {seed}, {storm.looks} looks)")
    emit(rows, COLUMNS, Format.TABLE, title=f"faults on real processes (seed {seed})")
    return not any(row["wrong"] for row in rows)


def _one(name: str, run: Callable[[], Outcome]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        verdict, happened = run()
        faults: Any = happened.total()
    except disks.NotAllowed as reason:
        print(f"faults: {name}: {reason}")
        return {"run": name, "faults": "not run", "wrong": False}
    except Wrong as wrong:
        verdict, faults = wrong.verdict, "?"
        print(wrong)
    except Exception as error:
        verdict, faults = Verdict(other=[repr(error)]), "?"
        print(f"{name}: {error!r}")
    return {
        "run": name,
        "faults": faults,
        "acknowledged": verdict.acknowledged,
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "out of order": len(verdict.out_of_order),
        "other": len(verdict.other),
        "seconds": f"{time.monotonic() - began:.0f}",
        "wrong": bool(verdict.problems),
    }


if __name__ == "__main__":
    main()
