"""A quarantine's store in memory: the same contract as PostgreSQL's, for tests."""

from __future__ import annotations

import threading
from dataclasses import replace
from uuid import UUID

from epicrisis.quarantine.store import RESUBMITTED, WAITING, Full, Held


class MemoryStore:
    """See `Store`. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[UUID, Held] = {}
        self._same: dict[UUID, UUID] = {}
        self._sealed: dict[UUID, tuple[UUID, bytes]] = {}

    def waiting(self, operator: str, same: UUID) -> Full:
        with self._lock:
            own = [row for row in self._rows.values() if row.operator == operator and row.state == WAITING]
            return Full(self._waits(same), len(own), sum(row.bytes for row in own))

    def keep(self, held: Held, same: UUID, key: UUID, sealed: bytes) -> bool:
        with self._lock:
            before = self._waits(same)
            if before not in (None, held.id):
                return False
            if before is not None:
                old = self._rows[before]
                held = replace(held, first=old.first, times=old.times + 1)
            self._rows[held.id] = held
            self._same[held.id] = same
            self._sealed[held.id] = key, sealed
            return True

    def rows(
        self, operator: str | None, *, id: UUID | None = None, state: str | None = None, limit: int | None = None
    ) -> list[Held]:
        with self._lock:
            found = [
                row
                for row in self._rows.values()
                if operator in (None, row.operator) and id in (None, row.id) and state in (None, row.state)
            ]
            return sorted(found, key=lambda row: (row.first, row.id))[:limit]

    def sealed(self, operator: str | None, id: UUID) -> tuple[UUID, bytes] | None:
        with self._lock:
            mine = id in self._rows and operator in (None, self._rows[id].operator)
            return self._sealed.get(id) if mine else None

    def settle(self, held: Held) -> bool:
        with self._lock:
            old = self._rows.get(held.id)
            if old is None or old.operator != held.operator or old.state != WAITING:
                return False
            self._rows[held.id] = held
            if held.state == RESUBMITTED:
                del self._sealed[held.id]
            return True

    def _waits(self, same: UUID) -> UUID | None:
        return next((id for id, of in self._same.items() if of == same and self._rows[id].state == WAITING), None)
