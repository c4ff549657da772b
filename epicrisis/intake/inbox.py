"""The inbox: the sealed original of every message, what came of it, and which subjects are busy with one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import zstandard
from psycopg.types.json import Jsonb

from epicrisis.codec import DataKey
from epicrisis.codec.sealing import seal, unseal
from epicrisis.database import Database
from epicrisis.sql import queries

_SQL = queries("epicrisis.intake")
MAX_BYTES = 256 * 1024 * 1024


def seal_original(raw: bytes, key: DataKey, message: UUID) -> bytes:
    """A message as it came, compressed and sealed under the key of the patient it is about (or its own)."""
    return seal(zstandard.compress(raw, level=3), key, b"original" + message.bytes)


def unseal_original(sealed: bytes, key: DataKey, message: UUID) -> bytes:
    """The message again, byte for byte."""
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


class Inbox(Protocol):
    """What intake needs to remember."""

    def result(self, id_: UUID) -> tuple[str, dict[str, Any] | None] | None:
        """State and result of a message, None where it is new."""
        ...

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        """Keep a message and occupy its subjects. Where some are busy, a new one is not kept, one that was kept before
        occupies nothing any more (two that wait for each other would wait for ever): whose messages they wait for.
        """
        ...

    def finish(self, id_: UUID, result: dict[str, Any]) -> None:
        """The message is done; its subjects are free. Where it was ``refused``, it may be recorded again."""
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

    def watching(self, id_: UUID) -> Any:
        """A context that yields whether this process may handle the message now: nobody else alive does."""
        ...


class _Busy(Exception):
    """Rolls the recording back."""

    def __init__(self, others: set[UUID]) -> None:
        super().__init__()
        self.others = others


class PostgresInbox:
    """See `Inbox`; in the database ``intake``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def result(self, id_: UUID) -> tuple[str, dict[str, Any] | None] | None:
        with self._database.session() as cur:
            cur.execute(_SQL["find"], {"id": id_})
            return cur.fetchone()

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        try:
            return self._record(message, subjects)
        except _Busy as busy:
            with self._database.transaction() as cur:
                cur.execute(_SQL["leave"], {"message": message.id})
            return busy.others

    def _record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        wanted = sorted(subjects, key=lambda s: s.bytes)
        with self._database.transaction() as cur:
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
                },
            )
            cur.execute(_SQL["occupy"], {"message": message.id, "subjects": wanted})
            if len(cur.fetchall()) == len(wanted):
                return set()
            cur.execute(_SQL["occupied_by"], {"message": message.id, "subjects": wanted})
            others = {id_ for (id_,) in cur}
            if others:
                raise _Busy(others)
            return others

    def finish(self, id_: UUID, result: dict[str, Any]) -> None:
        with self._database.transaction() as cur:
            cur.execute(_SQL["leave"], {"message": id_})
            cur.execute(_SQL["finish"], {"id": id_, "result": Jsonb(result)})

    def forget(self, id_: UUID) -> None:
        with self._database.transaction() as cur:
            cur.execute(_SQL["leave"], {"message": id_})
            cur.execute(_SQL["forget"], {"id": id_})

    def occupied(self, id_: UUID) -> set[UUID]:
        with self._database.session() as cur:
            cur.execute(_SQL["occupied"], {"message": id_})
            return {subject for (subject,) in cur}

    def unfinished(self, id_: UUID | None = None) -> list[Message]:
        with self._database.session() as cur:
            cur.execute(_SQL["unfinished"], {"id": id_})
            names = ("id", "received", "operator", "clinic", "door", "key", "original")
            return [Message(**dict(zip(names, row, strict=True))) for row in cur]

    @contextmanager
    def watching(self, id_: UUID) -> Iterator[bool]:
        with self._database.session() as cur:
            cur.execute(_SQL["watch"], {"id": str(id_)})
            row = cur.fetchone()
            mine = bool(row and row[0])
            try:
                yield mine
            finally:
                if mine:
                    cur.execute(_SQL["unwatch"], {"id": str(id_)})
