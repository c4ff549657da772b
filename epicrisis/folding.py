"""The fold: events applied to a projection's rows in memory, one after the other.

Live workers, rebuild, replay and fsck share it, so that none of them can come to other rows than the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from epicrisis.event import Meta, replace
from epicrisis.projection import Place, Projection, Step, Table


class Cell(msgspec.Struct, gc=False):
    """A row in a fold, None where there is none. ``n``: the number of the event that shaped it, 0 if none has here.
    ``new``: where rows are kept there is none.
    """

    row: Any = None
    n: int = 0
    new: bool = False


Rows = dict[Place, Cell]
"""What a fold has of its tables; a place that is not in it counts as absent."""


def apply(steps: Sequence[Step], meta: Meta, n: int, rows: Rows, counts: dict[Place, Count]) -> None:
    """Apply one event, in memory: the one fold that live workers, rebuild and replay share.

    ``n`` is the event's number in its subject's history. ``counts`` collects increments. Where a function raises,
    neither rows nor counts have changed.
    """
    before: list[tuple[Cell, Any, int]] = []
    try:
        for step in steps:
            evolve = step.handler.evolve
            if evolve is not None:
                table = step.handler.table.name
                for key in step.keys:
                    place = (table, key)
                    cell = rows.get(place)
                    if cell is None:
                        cell = rows[place] = Cell()
                    old = cell.row
                    new = evolve(old, step.event, meta)
                    if new is not old:
                        before.append((cell, old, cell.n))
                        cell.row, cell.n = new, n
    except Exception:
        for cell, old, shaped_by in reversed(before):
            cell.row, cell.n = old, shaped_by
        raise
    for step in steps:
        if step.handler.evolve is None:
            for increment in step.keys:
                _add_up(step.handler.table, increment, counts)


class Count:
    """What one key of a counter adds up to: the first increment, and the sums of all."""

    __slots__ = ("_first", "_table", "sums")

    def __init__(self, table: Table, first: Any) -> None:
        self._table, self._first = table, first
        self.sums = [getattr(first, column) for column in table.sums]

    def add(self, increment: Any) -> None:
        """One more."""
        for at, column in enumerate(self._table.sums):
            self.sums[at] += getattr(increment, column)

    def row(self) -> Any:
        """The increment that does the same as all of them."""
        return replace(self._first, **dict(zip(self._table.sums, self.sums, strict=True)))


def _add_up(table: Table, increment: Any, counts: dict[Place, Count]) -> None:
    place = (table.name, table.key_of(increment))
    count = counts.get(place)
    if count is None:
        counts[place] = Count(table, increment)
    else:
        count.add(increment)


class Folded(NamedTuple):
    """What a history makes: the rows of every table by its name, each table's by key, and which event shaped each."""

    rows: Mapping[str, list[Any]]
    shaped: Mapping[Place, int]


def fold(projection: Projection, history: Iterable[tuple[Any, Meta]]) -> Mapping[str, list[Any]]:
    """The rows of every table after this history of one subject: ``{table name: [row, ...]}``, by key."""
    return folded(projection, ((event, meta, n) for n, (event, meta) in enumerate(history, 1))).rows


def folded(projection: Projection, history: Iterable[tuple[Any, Meta, int]]) -> Folded:
    """The same of events with their numbers, and the number of the event that shaped each row last."""
    rows: Rows = {}
    counts: dict[Place, Count] = {}
    for event, meta, n in history:
        apply(projection.plan(event, meta), meta, n, rows, counts)
    result: dict[str, list[Any]] = {table.name: [] for table in projection.tables.values()}
    found = {place: cell.row for place, cell in rows.items()} | {place: count.row() for place, count in counts.items()}
    for (name, _), row in sorted(found.items(), key=lambda item: msgspec.json.encode(item[0])):
        if row is not None:
            result[name].append(row)
    return Folded(result, {place: cell.n for place, cell in rows.items() if cell.n})
