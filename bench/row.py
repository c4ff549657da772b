"""The rows that a benchmark's ``run(short)`` yields, one at a time, so that what comes before a failure is kept.

row, value, unit, goal (negative: at most), note; against a peer also peer, theirs (its value in the same unit),
times (how many times better ours is, below 1 where it is worse) and times_goal.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Protocol

Row = dict[str, Any]


class Run(Protocol):
    """A benchmark. ``short`` takes a tiny input: it shows that everything works, and measures nothing worth a look."""

    def __call__(self, short: bool = False) -> Iterator[Row]: ...


def versus(
    row: str, value: float, unit: str, peer: str, theirs: float, *, times_goal: float | None = None, note: str = ""
) -> Row:
    """Ours against a peer's. In a unit of ``…/s`` more is better, in any other less."""
    better = value / theirs if unit.endswith("/s") else theirs / value
    return {
        "row": row,
        "value": value,
        "unit": unit,
        "peer": peer,
        "theirs": theirs,
        "times": better,
        "times_goal": times_goal,
        "note": note,
    }


def met(row: Row) -> bool | None:
    """Whether a row's goal is met; None where it has none."""
    if row.get("times_goal") is not None:
        return bool(row["times"] >= row["times_goal"])
    goal = row.get("goal")
    if goal is None:
        return None
    return bool(row["value"] >= goal if goal > 0 else row["value"] <= -goal)


def figure(value: float | None) -> str:
    """A number for people."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def printed(row: Row) -> dict[str, str]:
    """The columns of the table."""
    verdict, goal, times = met(row), row.get("goal"), row.get("times_goal")
    want = f"≥ {times:g}×" if times is not None else ""
    if goal is not None:
        want = f"{'≥' if goal > 0 else '≤'} {figure(abs(goal))}"
    return {
        "row": row["row"],
        "value": figure(row["value"]),
        "unit": row["unit"],
        "peer": row.get("peer", ""),
        "theirs": figure(row.get("theirs")),
        "times": f"{row['times']:.2f}×" if "times" in row else "",
        "goal": want,
        "met": "" if verdict is None else "yes" if verdict else "NO",
        "note": row.get("note", ""),
    }


def named(*packages: str) -> str:
    """``package version, …`` of installed packages."""
    return ", ".join(f"{name} {version(name)}" for name in packages)
