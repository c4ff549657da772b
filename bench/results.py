"""The results file: what was measured, on what, when. The page is drawn from it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "scoreboard" / "results.json"
WRITTEN = ("docs/scoreboard", "docs/explanation/scoreboard.md")
"""What a run writes itself, from its first benchmark on."""
PACKAGES = (
    "kafka-python",
    "psycopg",
    "fastavro",
    "msgspec",
    "orjson",
    "zstandard",
    "cryptography",
    "fhir.resources",
    "confluent-kafka",
    "eventsourcing",
)


def load(path: Path) -> dict[str, Any]:
    """What is there already, or an empty board."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"machine": {}, "benches": {}}


def save(path: Path, results: dict[str, Any]) -> None:
    """Write it; rounded, so that the file can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def about_this_machine() -> dict[str, Any]:
    """Processor, memory, kernel, Python, library versions. No name of the machine."""
    return {
        "processor": _from("/proc/cpuinfo", "model name") or platform.processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(int((_from("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 1024**2, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": f"Python {platform.python_version()}",
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def about_this_run() -> dict[str, Any]:
    """When, which commit, how busy the machine was before (its load also counts what ran just before), and how fast: a
    virtual machine's processors are not the same all day.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        "load": round(os.getloadavg()[0], 2),
        "additions": max(_additions() for _ in range(3)),
    }


def _additions(number: int = 200_000) -> float:
    """So many additions a second in one loop, in millions."""
    began, total = time.perf_counter(), 0
    for one in range(number):
        total += one
    return number / (time.perf_counter() - began) / 1e6


def commit(checkout: Path) -> str:
    """The commit of a checkout, ``-dirty`` where anything but `WRITTEN` has changed since."""
    try:
        name = _git(checkout, "describe", "--always")
        others = [f":(top,exclude){path}" for path in WRITTEN]
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", ":/", *others)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-dirty" if changed else name


def _git(checkout: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _from(path: str, field: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), None)


def _rounded(thing: Any) -> Any:
    match thing:
        case float():
            return float(f"{thing:.4g}")
        case dict():
            return {name: _rounded(part) for name, part in thing.items()}
        case list():
            return [_rounded(part) for part in thing]
        case _:
            return thing
