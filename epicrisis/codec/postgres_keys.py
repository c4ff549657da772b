"""The key store of production: wrapped keys in the database `keys`, unwrapped ones in a bounded cache."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from uuid import UUID

from epicrisis.codec.keys import DataKey, Wrapping, erased, fresh, unwrapped
from epicrisis.database import Database
from epicrisis.grouped import Grouped
from epicrisis.sql import array, queries

_SQL = queries("epicrisis.codec")

KEYS = 256
"""So many keys that several threads miss are asked for together."""
TTL = 300.0
"""Seconds that a cached key lives: so long after `destroy` in one process may another still read the subject."""


class PostgresKeyStore:
    """Keys in PostgreSQL. Share one between threads."""

    def __init__(
        self,
        dsn: str,
        wrapping: Wrapping,
        cache: int = 10_000,
        *,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = Database(dsn, name="keys")
        self._wrapping = wrapping
        self._by_subject = _Recent(cache, ttl, clock)
        self._by_id = _Recent(cache, ttl, clock)
        self._missing: Grouped[set[UUID], dict[UUID, DataKey]] = Grouped(self._for_all, size=len, most=KEYS)

    def for_subjects(self, subjects: Collection[UUID]) -> dict[UUID, DataKey]:
        """The key of each subject, made where there is none yet, in one round trip.

        Another process may make the same key in the same moment; then a second trip reads it. What several threads
        miss at the same moment is one trip.
        """
        found = self._by_subject.take(subjects)
        if missing := {subject for subject in subjects if subject not in found}:
            found |= self._missing(missing)
        return found

    def _for_all(self, some: Sequence[set[UUID]]) -> list[dict[UUID, DataKey]]:
        subjects = {subject for one in some for subject in one}
        found: dict[UUID, DataKey] = {}
        while missing := [subject for subject in subjects if subject not in found]:
            offered = fresh(missing, self._wrapping)
            with self._database.session() as cur:
                cur.execute(
                    _SQL["for_subjects"],
                    {
                        "ids": array(id for id, _, _ in offered),
                        "subjects": array(subject for _, subject, _ in offered),
                        "wrapped": [wrapped for _, _, wrapped in offered],
                        "wrapping": self._wrapping.name(),
                    },
                )
                rows: list[tuple[UUID, UUID, bytes | None]] = cur.fetchall()
            if gone := [subject for _, subject, wrapped in rows if wrapped is None]:
                raise erased(gone)
            found |= {key.subject: key for key in self._ready(rows)}
        return [{subject: found[subject] for subject in one} for one in some]

    def by_ids(self, ids: Collection[UUID]) -> dict[UUID, DataKey]:
        """The keys with these ids, in at most one round trip. Unknown and destroyed ones are absent."""
        found = self._by_id.take(ids)
        if missing := [id for id in set(ids) if id not in found]:
            with self._database.session() as cur:
                cur.execute(_SQL["by_ids"], {"ids": array(missing)})
                rows: list[tuple[UUID, UUID, bytes | None]] = cur.fetchall()
            found |= {key.id: key for key in self._ready(rows)}
        return found

    def destroy(self, subject: UUID) -> bool:
        """Erase a subject for good; False where it had no key (left). Other processes forget it within `TTL`."""
        with self._database.transaction() as cur:
            row = cur.execute(_SQL["destroy"], {"subject": subject}).fetchone()
        self._by_subject.forget(subject)
        if row is None:
            return False
        self._by_id.forget(row[0])
        return True

    def close(self) -> None:
        """Give all connections back."""
        self._database.close()

    def _ready(self, rows: Collection[tuple[UUID, UUID, bytes | None]]) -> list[DataKey]:
        keys = [unwrapped(id, subject, wrapped, self._wrapping) for id, subject, wrapped in rows if wrapped is not None]
        self._by_subject.put({key.subject: key for key in keys})
        self._by_id.put({key.id: key for key in keys})
        return keys


class _Recent:
    """The keys used last, at most ``size`` of them, each for ``ttl`` seconds."""

    def __init__(self, size: int, ttl: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._kept: OrderedDict[UUID, tuple[float, DataKey]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, names: Collection[UUID]) -> dict[UUID, DataKey]:
        now, found = self._clock(), {}
        with self._lock:
            for name in names:
                if (kept := self._kept.get(name)) is None:
                    continue
                if kept[0] < now:
                    del self._kept[name]
                    continue
                self._kept.move_to_end(name)
                found[name] = kept[1]
        return found

    def put(self, keys: dict[UUID, DataKey]) -> None:
        until = self._clock() + self._ttl
        with self._lock:
            for name, key in keys.items():
                self._kept[name] = until, key
                self._kept.move_to_end(name)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def forget(self, name: UUID) -> None:
        with self._lock:
            self._kept.pop(name, None)
