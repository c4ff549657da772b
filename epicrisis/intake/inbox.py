"""The inbox: the sealed original of every message, what came of it, and which subjects are busy with one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import psycopg
import zstandard
from psycopg.types.json import Jsonb

from epicrisis.codec import DataKey
from epicrisis.codec.sealing import seal, unseal
from epicrisis.database import Database
from epicrisis.fhir.codes import Code
from epicrisis.sql import array, queries

_SQL = queries("epicrisis.intake")
MAX_BYTES = 256 * 1024 * 1024
MAX_SYSTEM, MAX_CODE = 256, 64
NO_SYSTEM, NO_CODE = "(no system: too long)", "(no code: too long)"


_APART = b"\0"
"""Between a Bundle and what it was made from: no text that passed the gate holds it."""


def seal_original(raw: bytes, key: DataKey, message: UUID, source: bytes = b"") -> bytes:
    """A message as it came, compressed and sealed under the key of the patient it is about (or its own).

    ``source``: what came, where a door has made the FHIR Bundle ``raw`` from it (an HL7 v2 message). Both are kept: the
    one is what auditors want to see, the other what was decided, which later tables might make differently.
    """
    both = raw + _APART + source if source else raw
    return seal(zstandard.compress(both, level=3), key, b"original" + message.bytes)


def unseal_original(sealed: bytes, key: DataKey, message: UUID) -> bytes:
    """What was decided, byte for byte."""
    return _unsealed(sealed, key, message).partition(_APART)[0]


def unseal_source(sealed: bytes, key: DataKey, message: UUID) -> bytes:
    """What came, byte for byte."""
    raw, _, source = _unsealed(sealed, key, message).partition(_APART)
    return source or raw


def _unsealed(sealed: bytes, key: DataKey, message: UUID) -> bytes:
    frame = unseal(sealed, key, b"original" + message.bytes)
    return zstandard.ZstdDecompressor().decompress(frame, max_output_size=MAX_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An inbound message as it is kept."""

    id: UUID
    received: datetime
    operator: str
    clinic: str
    door: str
    key: UUID
    original: bytes
    codes: bytes = b""
    """The version of the operator's code map that it is decided by."""


Found: TypeAlias = tuple[str, dict[str, Any] | None] | None
"""State and result of a message, None where it is new."""


class Unmapped(NamedTuple):
    """A local code that no code map had: in how many messages, when first and last."""

    operator: str
    system: str
    code: str
    messages: int
    first: datetime
    last: datetime


def listed(code: Code) -> Code:
    """A code as it is listed: what is no code, but perhaps a text about somebody, is not repeated."""
    system, word = code
    fits = len(system) <= MAX_SYSTEM and system.isprintable()
    return system if fits else NO_SYSTEM, word if len(word) <= MAX_CODE and word.isprintable() else NO_CODE


class Inbox(Protocol):
    """What intake needs to remember."""

    def result(self, id_: UUID) -> Found:
        """State and result of a message, None where it is new."""
        ...

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        """Keep a message and occupy its subjects. Where some are busy, a new one is not kept, one that was kept before
        occupies nothing any more (two that wait for each other would wait for ever): whose messages they wait for.
        """
        ...

    def finish(self, id_: UUID, result: dict[str, Any], unmapped: Collection[Code] = ()) -> None:
        """The message is done; its subjects are free. Where it was ``refused``, it may be recorded again.

        ``unmapped``: its local codes that no code map has, to be counted.
        """
        ...

    def forget(self, id_: UUID) -> None:
        """The message was never here; its subjects are free. Not for one that is done, or was refused in the middle."""
        ...

    def occupied(self, id_: UUID) -> set[UUID]:
        """The subjects that wait for this message."""
        ...

    def unfinished(self, id_: UUID | None = None) -> list[Message]:
        """Messages that are recorded and not done, oldest first."""
        ...

    def keep_codes(self, digest: bytes, table: bytes) -> None:
        """Keep a version of a code map."""
        ...

    def codes(self, digest: bytes) -> bytes | None:
        """A version of a code map that was kept."""
        ...

    def unmapped(self) -> list[Unmapped]:
        """The unmapped codes of all finished messages, most frequent first."""
        ...

    def watching(self, id_: UUID) -> AbstractContextManager[tuple[bool, Found]]:
        """A context that yields whether this process may handle the message now, as nobody else alive does; and if so
        what `result` says now. `finish` and `forget` inside it fail where the session that holds the lock was lost.
        """
        ...


class PostgresInbox:
    """See `Inbox`; in the database ``intake``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions: dict[UUID, psycopg.Cursor[Any]] = {}

    def result(self, id_: UUID) -> Found:
        with self._database.session() as cur:
            cur.execute(_SQL["find"], {"id": id_})
            return cur.fetchone()

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        with self._database.session() as cur:
            cur.execute(
                _SQL["record"],
                {
                    "id": message.id,
                    "received": message.received,
                    "operator": message.operator,
                    "clinic": message.clinic,
                    "door": message.door,
                    "key": message.key,
                    "original": message.original,
                    "subjects": array(subjects),
                    "codes": message.codes,
                },
            )
            [(others,)] = cur.fetchall()
            return set(others)

    def finish(self, id_: UUID, result: dict[str, Any], unmapped: Collection[Code] = ()) -> None:
        with self._watched(id_) as cur:
            if not unmapped:
                cur.execute(_SQL["finish"], {"id": id_, "result": Jsonb(result)})
                return
            systems, codes = zip(*sorted(listed(code) for code in unmapped), strict=True)
            told = {"id": id_, "result": Jsonb(result), "systems": list(systems), "codes": list(codes)}
            cur.execute(_SQL["finish_and_list"], told)

    def forget(self, id_: UUID) -> None:
        with self._watched(id_) as cur:
            cur.execute(_SQL["forget"], {"id": id_})

    def occupied(self, id_: UUID) -> set[UUID]:
        with self._database.session() as cur:
            cur.execute(_SQL["occupied"], {"message": id_})
            return {subject for (subject,) in cur}

    def unfinished(self, id_: UUID | None = None) -> list[Message]:
        with self._database.session() as cur:
            cur.execute(_SQL["unfinished"], {"id": id_})
            names = ("id", "received", "operator", "clinic", "door", "key", "original", "codes")
            return [Message(**dict(zip(names, row, strict=True))) for row in cur]

    def keep_codes(self, digest: bytes, table: bytes) -> None:
        with self._database.session() as cur:
            cur.execute(_SQL["keep_codes"], {"digest": digest, "rows": table})

    def codes(self, digest: bytes) -> bytes | None:
        with self._database.session() as cur:
            cur.execute(_SQL["codes"], {"digest": digest})
            row = cur.fetchone()
            return None if row is None else row[0]

    def unmapped(self) -> list[Unmapped]:
        with self._database.session() as cur:
            cur.execute(_SQL["unmapped"])
            return [Unmapped(*row) for row in cur]

    @contextmanager
    def watching(self, id_: UUID) -> Iterator[tuple[bool, Found]]:
        with self._database.session() as cur:
            cur.execute(_SQL["watch"], {"id": id_})
            [(mine, state, result)] = cur.fetchall()
            if not mine:
                yield False, None
                return
            self._sessions[id_] = cur
            try:
                yield True, None if state is None else (state, result)
            finally:
                del self._sessions[id_]
                cur.execute(_SQL["unwatch"], {"id": str(id_)})

    @contextmanager
    def _watched(self, id_: UUID) -> Iterator[psycopg.Cursor[Any]]:
        """The session that watches the message: who has lost that, has lost the message to another."""
        cur = self._sessions.get(id_)
        if cur is not None:
            yield cur
        else:
            with self._database.session() as cur:
                yield cur
