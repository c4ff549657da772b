"""``python -m bench [module ...]``: run the benchmarks and print one table."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path

from epicrisis.cli.output import emit

MODULES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if "def run(" in p.read_text())


def main() -> None:
    """Each module's ``run()`` gives rows: row, value, unit, goal (negative: at most), note."""
    rows = []
    for name in sys.argv[1:] or MODULES:
        for row in importlib.import_module(f"bench.{name}").run():
            goal = row.get("goal")
            value = row["value"]
            met = "" if goal is None else "yes" if (value >= goal if goal > 0 else value <= -goal) else "NO"
            want = "" if goal is None else f"{'at least' if goal > 0 else 'at most'} {abs(goal)}"
            rows.append({**row, "value": f"{value:,.0f}" if value >= 100 else f"{value:.2f}", "goal": want, "met": met})
    load = os.getloadavg()[0]
    emit(
        rows,
        ("row", "value", "unit", "goal", "met", "note"),
        title=f"Python {platform.python_version()}, {os.cpu_count()} processors, load before the end {load:.1f}",
    )


if __name__ == "__main__":
    main()
