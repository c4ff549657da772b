"""Where partitions are read on, in memory: the same contract as PostgreSQL's, for tests."""

from __future__ import annotations

import threading

from epicrisis.doors.kafka_inbox.judge import Place


class MemoryPlaces:
    """See `Places`. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: dict[Place, tuple[int, bytes | None]] = {}

    def start(self, place: Place, offset: int) -> tuple[int, bytes | None]:
        with self._lock:
            return self._at.setdefault(place, (offset, None))

    def refuse(self, place: Place, offset: int, answer: bytes) -> bytes:
        with self._lock:
            at, first = self._at[place]
            if at > offset:
                return answer
            self._at[place] = at, first or answer
            return first or answer

    def done(self, place: Place, next_offset: int) -> None:
        with self._lock:
            if self._at[place][0] < next_offset:
                self._at[place] = next_offset, None
