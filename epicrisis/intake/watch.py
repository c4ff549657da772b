"""The locks on the messages that this process handles: all in one session, so that they end with the process."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from epicrisis.database import Database
from epicrisis.fhir.codes import Code
from epicrisis.grouped import Grouped
from epicrisis.sql import array, queries

_SQL = queries("epicrisis.intake")
MAX_SYSTEM, MAX_CODE = 256, 64
NO_SYSTEM, NO_CODE = "(no system: too long)", "(no code: too long)"


def listed(code: Code) -> Code:
    """A code as it is listed: what is no code, but perhaps a text about somebody, is not repeated."""
    system, word = code
    fits = len(system) <= MAX_SYSTEM and system.isprintable()
    return system if fits else NO_SYSTEM, word if len(word) <= MAX_CODE and word.isprintable() else NO_CODE


@dataclass(frozen=True, slots=True)
class _Take:
    id: UUID


@dataclass(frozen=True, slots=True)
class _Give:
    id: UUID


@dataclass(frozen=True, slots=True)
class _End:
    """``result`` None: the message is forgotten."""

    id: UUID
    result: dict[str, Any] | None
    unmapped: list[Code] = field(default_factory=list)


class Watch:
    """Takes and gives locks, and ends messages, in the session that holds their locks: who has lost that, has lost the
    message to another. Safe for several threads; what they ask at the same moment is asked once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mine: set[UUID] = set()
        self._lock = threading.Lock()
        self._turn: Grouped[_Take | _Give | _End, Any] = Grouped(self._take_turn)
        # Of the turns alone, of which there is one at a time:
        self._stack = ExitStack()
        self._session: psycopg.Cursor[Any] | None = None
        self._held: dict[UUID, psycopg.Cursor[Any]] = {}

    def take(self, id_: UUID) -> tuple[str | None, dict[str, Any] | None] | None:
        """The message's state and result, where nobody else has it (both None where it is new); None where one has."""
        with self._lock:
            if id_ in self._mine:
                return None
            self._mine.add(id_)
        found = None
        try:
            found = self._turn(_Take(id_))
            return found  # type: ignore[no-any-return]
        finally:
            if found is None:
                with self._lock:
                    self._mine.discard(id_)

    def give(self, id_: UUID) -> None:
        """Somebody else may have it."""
        try:
            self._turn(_Give(id_))
        finally:
            with self._lock:
                self._mine.discard(id_)

    def end(self, id_: UUID, result: dict[str, Any] | None = None, unmapped: Collection[Code] = ()) -> None:
        """It is done, or forgotten where there is no result. Raises where the lock on it was lost meanwhile."""
        self._turn(_End(id_, result, sorted({listed(code) for code in unmapped})))

    def _take_turn(self, calls: Sequence[_Take | _Give | _End]) -> list[Any]:
        cur = self._session or self._open()
        # One that nobody watches may be ended by anybody.
        ends = [call for call in calls if isinstance(call, _End) and self._held.get(call.id, cur) is cur]
        takes = [call.id for call in calls if isinstance(call, _Take)]
        gives = [call.id for call in calls if isinstance(call, _Give)]
        locked = [id_ for id_ in gives if self._held.get(id_) is cur]
        if ends:
            self._execute("end", _ended(ends))
        if takes or locked:
            self._execute("watch", {"given": array(locked), "wanted": array(takes)})
        found = {id_: (state, result) for id_, state, result in cur} if takes else {}
        for id_ in gives:
            self._held.pop(id_, None)
        self._held |= dict.fromkeys(found, cur)
        if not self._held:
            self._close()
        kept = {call.id for call in ends} | set(locked)
        return [found.get(call.id) if isinstance(call, _Take) else _unless(call.id in kept) for call in calls]

    def _execute(self, name: str, parameters: dict[str, Any]) -> None:
        """Where the connection is lost, so are its locks; whoever relies on one learns it when it ends or gives."""
        assert self._session is not None
        try:
            self._session.execute(_SQL[name], parameters)
        except BaseException as error:
            if name == "watch" or not isinstance(error, psycopg.Error):
                self._session.connection.close()  # it may have locks that nobody knows of
            if self._session.connection.closed:
                self._close()
            raise

    def _open(self) -> psycopg.Cursor[Any]:
        self._session = self._stack.enter_context(self._database.session())
        return self._session

    def _close(self) -> None:
        self._session = None
        self._stack.close()


def _unless(kept: bool) -> Exception | None:
    return None if kept else psycopg.OperationalError("the session that had the lock on this message is lost")


def _ended(ends: Sequence[_End]) -> dict[str, Any]:
    done = [call for call in ends if call.result is not None]
    unmapped = [(call.id, *code) for call in done for code in call.unmapped]
    return {
        "ids": array(call.id for call in done),
        "results": [Jsonb(call.result) for call in done],
        "forgotten": array(call.id for call in ends if call.result is None),
        "listed": array(id_ for id_, _, _ in unmapped),
        "systems": [system for _, system, _ in unmapped],
        "codes": [code for _, _, code in unmapped],
    }
