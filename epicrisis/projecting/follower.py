"""A projection's version as a consumer of the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from epicrisis.projecting.delivery import QUEUED, Delivered, Failure
from epicrisis.projecting.store import Transaction
from epicrisis.projection import Count, Key, Place, Projection, Step, apply


class ProjectionFollower:
    """Loads the rows that a batch touches, folds the batch in memory, writes what changed. See `Consumer`."""

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.name = projection.schema

    def needs_body(self, event_type: str) -> bool:
        return bool(self.projection.handlers_of(event_type)[0])

    def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        touches = self.projection.touches
        planned = [(item, self._plan(item)) for item in delivered if touches(item.meta.type)]
        if not planned:
            return []
        keys: defaultdict[str, set[Key]] = defaultdict(set)
        for _, plan in planned:
            if not isinstance(plan, Failure):
                for step in plan:
                    if step.handler.evolve is not None and step.keys:
                        keys[step.handler.table.name].update(step.keys)
        rows = at.load(self.projection, keys)
        counts: dict[Place, Count] = {}
        before = dict(rows)
        failures = self._fold(planned, rows, counts)
        changed: defaultdict[str, dict[Key, Any]] = defaultdict(dict)
        for place, row in rows.items():
            if row is not before.get(place):
                changed[place[0]][place[1]] = row
        for place, count in counts.items():
            changed[place[0]][place[1]] = count.row()
        at.save(self.projection, changed, shard)
        return failures

    def _plan(self, item: Delivered) -> list[Step] | Failure:
        if item.problem is not None and self.needs_body(item.meta.type):
            return Failure(item, item.problem.reason)
        try:
            return self.projection.plan(item.body, item.meta)
        except Exception as error:
            return Failure(item, f"rows: {type(error).__name__}")

    def _fold(
        self,
        planned: Sequence[tuple[Delivered, list[Step] | Failure]],
        rows: dict[Place, Any],
        counts: dict[Place, Count],
    ) -> list[Failure]:
        failures: list[Failure] = []
        waiting: set[UUID] = set()
        for item, plan in planned:
            if item.meta.subject in waiting:
                failures.append(Failure(item, QUEUED))
                continue
            if isinstance(plan, Failure):
                failures.append(plan)
                waiting.add(item.meta.subject)
                continue
            try:
                apply(plan, item.meta, rows, counts)
            except Exception as error:
                failures.append(Failure(item, f"evolve: {type(error).__name__}"))
                waiting.add(item.meta.subject)
        return failures
