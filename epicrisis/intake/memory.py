"""An inbox in memory: the same contract as PostgreSQL's, for tests and simulation."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from epicrisis.fhir.codes import Code
from epicrisis.intake.inbox import Found, Message, Unmapped
from epicrisis.intake.watch import listed


class MemoryInbox:
    """See `Inbox`. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[UUID, Message] = {}
        self._results: dict[UUID, dict[str, Any]] = {}
        self._done: set[UUID] = set()
        self._busy: dict[UUID, UUID] = {}
        self._watched: set[UUID] = set()
        self._codes: dict[bytes, bytes] = {}
        self._unmapped: dict[tuple[str, str, str], Unmapped] = {}

    def result(self, id_: UUID) -> Found:
        with self._lock:
            if id_ not in self._messages:
                return None
            return "done" if id_ in self._done else "received", self._results.get(id_)

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        with self._lock:
            if message.id in self._done and "refused" not in self._results[message.id]:
                return set()  # who was frozen while others finished it comes late
            others = {self._busy[s] for s in subjects if s in self._busy} - {message.id}
            if others:
                self._leave(message.id)
            else:
                self._messages.setdefault(message.id, message)
                self._busy.update((subject, message.id) for subject in subjects)
                if "refused" in self._results.get(message.id, ()):
                    self._done.discard(message.id)
            return others

    def finish(self, id_: UUID, result: dict[str, Any], unmapped: Collection[Code] = ()) -> None:
        with self._lock:
            self._results[id_] = result
            for system, code in {listed(code) for code in unmapped}:
                message = self._messages[id_]
                key, at = (message.operator, system, code), message.received
                old = self._unmapped.get(key, Unmapped(*key, 0, at, at))
                self._unmapped[key] = old._replace(messages=old.messages + 1, last=max(old.last, at))
            self._done.add(id_)
            self._leave(id_)

    def forget(self, id_: UUID) -> None:
        with self._lock:
            self._leave(id_)
            if id_ not in self._results:
                self._messages.pop(id_, None)

    def keep_codes(self, digest: bytes, table: bytes) -> None:
        with self._lock:
            self._codes[digest] = table

    def codes(self, digest: bytes) -> bytes | None:
        with self._lock:
            return self._codes.get(digest)

    def unmapped(self) -> list[Unmapped]:
        with self._lock:
            return sorted(self._unmapped.values(), key=lambda one: (-one.messages, one))

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
