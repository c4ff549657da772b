"""An inbox in memory: the same contract as PostgreSQL's, for tests and simulation."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from epicrisis.intake.inbox import Found, Message


class MemoryInbox:
    """See `Inbox`. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[UUID, Message] = {}
        self._results: dict[UUID, dict[str, Any]] = {}
        self._done: set[UUID] = set()
        self._busy: dict[UUID, UUID] = {}
        self._watched: set[UUID] = set()

    def result(self, id_: UUID) -> Found:
        with self._lock:
            if id_ not in self._messages:
                return None
            return "done" if id_ in self._done else "received", self._results.get(id_)

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        with self._lock:
            others = {self._busy[s] for s in subjects if s in self._busy} - {message.id}
            if others:
                self._leave(message.id)
            else:
                self._messages.setdefault(message.id, message)
                self._busy.update((subject, message.id) for subject in subjects)
                if "refused" in self._results.get(message.id, ()):
                    self._done.discard(message.id)
            return others

    def finish(self, id_: UUID, result: dict[str, Any]) -> None:
        with self._lock:
            self._results[id_] = result
            self._done.add(id_)
            self._leave(id_)

    def forget(self, id_: UUID) -> None:
        with self._lock:
            self._leave(id_)
            if id_ not in self._results:
                self._messages.pop(id_, None)

    def occupied(self, id_: UUID) -> set[UUID]:
        with self._lock:
            return {subject for subject, by in self._busy.items() if by == id_}

    def _leave(self, id_: UUID) -> None:
        self._busy = {subject: by for subject, by in self._busy.items() if by != id_}

    def unfinished(self, id_: UUID | None = None) -> list[Message]:
        with self._lock:
            waiting = [m for m in self._messages.values() if m.id not in self._done and id_ in (None, m.id)]
            return sorted(waiting, key=lambda m: m.received)

    @contextmanager
    def watching(self, id_: UUID) -> Iterator[tuple[bool, Found]]:
        with self._lock:
            mine = id_ not in self._watched
            self._watched.add(id_)
        try:
            yield mine, self.result(id_) if mine else None
        finally:
            if mine:
                with self._lock:
                    self._watched.discard(id_)
