"""A projection's version as a consumer of the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from epicrisis.folding import Cell, Count, Rows, apply
from epicrisis.projecting.delivery import QUEUED, Delivered, Failure
from epicrisis.projecting.store import Saved, Transaction
from epicrisis.projection import Key, Place, Projection, Step


class ProjectionFollower:
    """Loads the rows that a batch touches, folds the batch in memory, writes what changed. See `Consumer`."""

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.name = projection.schema

    def needs_body(self, event_type: str) -> bool:
        return bool(self.projection.handlers_of(event_type)[0])

    def needs_resource(self, event_type: str) -> bool:
        return self.projection.resources and self.needs_body(event_type)

    def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        planned = self._planned(delivered)
        if not planned:
            return []
        rows = self._loaded(at, delivered, planned)
        counts: dict[Place, Count] = {}
        failures = self._fold(delivered, planned, rows, counts)
        changed: defaultdict[str, list[Saved]] = defaultdict(list)
        for (table, key), cell in rows.items():
            if cell.n:
                changed[table].append((key, cell.row, cell.n, cell.new))
        for (table, key), count in counts.items():
            changed[table].append((key, count.row(), shard, False))
        at.save(self.projection, changed)
        return failures

    def _loaded(
        self, at: Transaction, delivered: Sequence[Delivered], planned: Sequence[tuple[Delivered, list[Step] | Failure]]
    ) -> Rows:
        """A cell for every key that these steps touch, with its row where there is one. A subject whose history begins
        here has none.
        """
        begun = {item.meta.subject for item in delivered if item.n == 1}
        rows: Rows = {}
        keys: defaultdict[str, list[Key]] = defaultdict(list)
        for item, plan in planned:
            if isinstance(plan, Failure):
                continue
            for step in plan:
                if step.handler.evolve is not None:
                    table = step.handler.table.name
                    for key in step.keys:
                        before = len(rows)
                        rows.setdefault((table, key), Cell(new=True))
                        if len(rows) > before and item.meta.subject not in begun:
                            keys[table].append(key)
        for place, row in at.load(self.projection, keys).items():
            cell = rows[place]
            cell.row, cell.new = row, False
        return rows

    def fold(self, delivered: Sequence[Delivered], rows: Rows, counts: dict[Place, Count]) -> list[Failure]:
        """Apply these events in memory alone: ``rows`` holds every row that they touch and that there is already."""
        return self._fold(delivered, self._planned(delivered), rows, counts)

    def _planned(self, delivered: Sequence[Delivered]) -> list[tuple[Delivered, list[Step] | Failure]]:
        touched = {type_ for type_ in {item.meta.type for item in delivered} if self.projection.touches(type_)}
        return [(item, self._plan(item)) for item in delivered if item.meta.type in touched]

    def _plan(self, item: Delivered) -> list[Step] | Failure:
        if item.problem is not None and self.needs_body(item.meta.type):
            return Failure(item, item.problem.reason)
        try:
            return self.projection.plan(item.body, item.meta)
        except Exception as error:
            return Failure(item, f"rows: {type(error).__name__}")

    def _fold(
        self,
        delivered: Sequence[Delivered],
        planned: Sequence[tuple[Delivered, list[Step] | Failure]],
        rows: Rows,
        counts: dict[Place, Count],
    ) -> list[Failure]:
        failures: list[Failure] = []
        waiting: set[UUID] = set()
        for item, plan in planned:
            if waiting and item.meta.subject in waiting:
                failures.append(Failure(item, QUEUED))
                continue
            if isinstance(plan, Failure):
                failures.append(plan)
                waiting.add(item.meta.subject)
                continue
            try:
                apply(plan, item.meta, item.n, rows, counts)
            except Exception as error:
                failures.append(Failure(item, f"evolve: {type(error).__name__}"))
                waiting.add(item.meta.subject)
        return _with_all_behind(delivered, failures) if failures else failures


def _with_all_behind(delivered: Sequence[Delivered], failures: list[Failure]) -> list[Failure]:
    """With the events behind a failed one that touch nothing here: they may not move the position past it."""
    by_event = {id(failure.delivered): failure for failure in failures}
    waiting: set[UUID] = set()
    for item in delivered:
        if id(item) in by_event:
            waiting.add(item.meta.subject)
        elif item.meta.subject in waiting:
            by_event[id(item)] = Failure(item, QUEUED)
    return [by_event[id(item)] for item in delivered if id(item) in by_event]
