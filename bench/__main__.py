"""``python -m bench [name ...]``: run the benchmarks, print one table, keep the figures, draw the page.

Every benchmark is a module here with a ``run``; see `bench.row`. One that fails or takes too long loses only its own
remaining rows, and the table says so. The figures of a run replace those of the same benchmarks in the results file.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from bench import page
from bench.results import RESULTS, about_this_machine, about_this_run, load, save
from bench.row import Row, Run, met, printed
from bench.stage import common_stage
from epicrisis.cli.output import emit

ORDER = tuple(
    (
        "projection rebuild store spine freshness growth writing reading access mllp fhir codec gate proof fsck client"
    ).split()
)
"""Every benchmark; `client` last, because in a short run it writes into the log that others share."""
SECONDS = 180
"""So long a benchmark may take that says nothing else (``AT_MOST``)."""
COLUMNS = ("row", "value", "unit", "peer", "theirs", "times", "goal", "met", "note")


class NotRun(Exception):
    """What a benchmark needs is not there; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Returns how many benchmarks failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(ORDER)}; all by default")
    parser.add_argument("--short", action="store_true", help="tiny input: does it work? The figures mean nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept (JSON)")
    options = parser.parse_args(arguments)
    names = options.names or list(ORDER)
    if unknown := [name for name in names if name not in ORDER]:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    results = load(options.results)
    results["machine"] = about_this_machine()
    logging.disable(logging.CRITICAL)
    failed = 0
    with common_stage() if options.short else nullcontext():
        for name in names:
            print(f"bench {name} …", file=sys.stderr, flush=True)
            began, about = time.monotonic(), about_this_run()
            rows, problem = measure(name, options.short)
            failed += problem is not None and not problem.startswith(NotRun.__name__)
            results["benches"][name] = {
                **about,
                "seconds": time.monotonic() - began,
                "short": options.short,
                "rows": rows,
                "problem": problem,
            }
            save(options.results, results)
            emit(map(printed, rows), COLUMNS, title=f"{name}: {page.TITLES[name]}")
            if problem is not None:
                print(f"{name}: {problem}\n")
    _summary(names, results)
    page.write(results, options.results.parent)
    return failed


def measure(name: str, short: bool) -> tuple[list[Row], str | None]:
    """The rows of one benchmark, and what went wrong after them."""
    rows: list[Row] = []
    try:
        bench = importlib.import_module(f"bench.{name}")
        run: Run = bench.run
        with limited(getattr(bench, "AT_MOST", SECONDS)):
            for row in run(short):
                rows.append(row)
    except SystemExit as absent:
        return rows, f"{NotRun.__name__}: {absent}"
    except Exception as error:
        traceback.print_exc()
        return rows, f"{type(error).__name__}: {error}"
    return rows, None


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """TimeoutError after so many seconds, wherever the main thread is."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"not finished after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _summary(names: list[str], results: dict[str, Any]) -> None:
    rows = [row for name in names for row in results["benches"][name]["rows"]]
    verdicts = [verdict for row in rows if (verdict := met(row)) is not None]
    machine = results["machine"]
    print(
        f"{len(rows)} rows, {sum(verdicts)} of {len(verdicts)} goals met; {machine['python']}, "
        f"{machine['processors']} processors ({machine['processor']}), load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    sys.exit(code)
