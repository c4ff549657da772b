"""Reading what one has written: a client's next read waits until the read model has what this process took in for it.

The read models follow the journals by way of Kafka, some milliseconds behind. The wait is bounded: then the answer says
that it may lack something.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from uuid import UUID

from msgspec import convert

from epicrisis.intake.receipt import Outcome

WAIT_SECONDS = 2.0
LOOK_SECONDS = 0.01
FORGET_SECONDS = 30.0
RESOURCES = 2_000
"""So many resources are remembered of a client, the newest."""
CLIENTS = 1_000

Waiting = OrderedDict[UUID, tuple[int, bool, float]]
"""By resource: the version that was written, whether it was deleted, and when."""
Look = Callable[[Collection[UUID]], Mapping[UUID, tuple[int, bool]]]
"""Of these resources how many versions can be read, and whether they were retracted."""


class Written:
    """What each client wrote lately and may not be able to read yet. Share one between threads."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._pause = pause
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, client: str, entries: Iterable[Outcome]) -> None:
        """What came of a message of this client's: its receipt's entries."""
        now = self._clock()
        with self._lock:
            waiting = self._waiting.setdefault(client, OrderedDict())
            self._waiting.move_to_end(client)
            for entry in entries:
                if entry.did != "unchanged":
                    id_ = convert(entry.id, UUID)
                    waiting[id_] = entry.version, entry.did == "deleted", now
                    waiting.move_to_end(id_)
            while len(waiting) > RESOURCES:
                waiting.popitem(last=False)
            while len(self._waiting) > CLIENTS:
                self._waiting.popitem(last=False)

    def settled(self, client: str, look: Look, *, seconds: float = WAIT_SECONDS) -> bool:
        """Wait until everything that this client wrote can be read; False where it still cannot."""
        waiting = self._left(client)
        deadline = self._clock() + seconds
        while waiting:
            there = look(waiting)
            done = [
                id_
                for id_, (version, deleted, _) in waiting.items()
                if id_ in there and there[id_][0] >= version and (not deleted or there[id_][1])
            ]
            self._forget(client, done)
            waiting = self._left(client)
            if waiting and self._clock() > deadline:
                self._forget(client, waiting)
                return False
            if waiting:
                self._pause(LOOK_SECONDS)
        return True

    def _left(self, client: str) -> dict[UUID, tuple[int, bool, float]]:
        with self._lock:
            old = self._clock() - FORGET_SECONDS
            waiting = self._waiting.get(client, Waiting())
            return {id_: one for id_, one in waiting.items() if one[2] >= old}

    def _forget(self, client: str, ids: Iterable[UUID]) -> None:
        with self._lock:
            waiting = self._waiting.get(client)
            if waiting is not None:
                for id_ in ids:
                    waiting.pop(id_, None)
                if not waiting:
                    del self._waiting[client]
