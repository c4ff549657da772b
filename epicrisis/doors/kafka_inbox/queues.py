"""What was read from the inboxes and is not answered yet: each partition in order, every operator in its turn."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from epicrisis.doors.kafka_inbox.judge import Place

FULL_RECORDS, FULL_BYTES = 200, 16 * 1024 * 1024
"""A partition with so much waiting is not read on until half of it is answered."""

REST_SECONDS = 0.2


class Queues:
    """Shared by the thread that reads and those that answer.

    ``threads`` answer; one operator never has all of them, where there are several.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rests: dict[Place, float] = {}
        self._most = max(1, threads - 1)
        self._changed = threading.Condition()
        self._waiting: dict[Place, deque[Any]] = {}
        self._bytes: Counter[Place] = Counter()
        self._busy: set[Place] = set()
        self._turn: dict[str, int] = {}
        self._turns = 0
        self._closed = False

    def hold(self, places: Iterable[Place]) -> None:
        """These partitions are this process's: what waits of others is forgotten."""
        with self._changed:
            held = set(places)
            self._waiting = {place: self._waiting.get(place, deque()) for place in held}
            self._bytes = Counter({place: self._bytes[place] for place in held})
            self._changed.notify_all()

    def put(self, place: Place, records: Sequence[Any]) -> None:
        """The next records of a partition."""
        with self._changed:
            if place in self._waiting:
                self._waiting[place].extend(records)
                self._bytes[place] += sum(map(_size, records))
                self._changed.notify()

    def full(self, place: Place, paused: bool) -> bool:
        """Whether this partition must not be read on: until half is answered, once it is ``paused``."""
        with self._changed:
            share = 2 if paused else 1
            waiting = len(self._waiting.get(place, ()))
            return waiting * share >= FULL_RECORDS or self._bytes[place] * share >= FULL_BYTES

    def take(self) -> tuple[Place, Any] | None:
        """The next record to be answered, and its partition, which is nobody else's until `give`; None at the end."""
        with self._changed:
            while not self._closed:
                if (place := self._next()) is not None:
                    record = self._waiting[place][0]
                    self._busy.add(place)
                    self._turns += 1
                    self._turn[place.operator] = self._turns
                    return place, record
                self._changed.wait(REST_SECONDS)
            return None

    def give(self, place: Place, record: Any, answered: bool, rest: float = 0.0) -> None:
        """The record was ``answered``, or waits on; nobody takes it again for ``rest`` seconds."""
        with self._changed:
            self._busy.discard(place)
            self._rests[place] = self._clock() + rest
            waiting = self._waiting.get(place)
            if answered and waiting and waiting[0] is record:
                waiting.popleft()
                self._bytes[place] -= _size(record)
            self._changed.notify_all()

    def held(self, place: Place) -> bool:
        """Whether this partition is (still) this process's."""
        with self._changed:
            return place in self._waiting and not self._closed

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> Place | None:
        """Of the operators that have something waiting, whose turn was longest ago."""
        now = self._clock()
        at_work = Counter(place.operator for place in self._busy)
        ready = [
            place
            for place, waiting in self._waiting.items()
            if waiting
            and place not in self._busy
            and at_work[place.operator] < self._most
            and self._rests.get(place, 0.0) <= now
        ]
        return min(ready, key=lambda place: (self._turn.get(place.operator, 0), place.partition), default=None)


def _size(record: Any) -> int:
    return len(record.value or b"") + len(record.key or b"") + sum(len(v or b"") + len(k) for k, v in record.headers)
