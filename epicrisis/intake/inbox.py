"""The inbox: the sealed original of every message, what came of it, and which subjects are busy with one."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import zstandard

from epicrisis.codec import DataKey
from epicrisis.codec.layout import UNITS, reindent
from epicrisis.codec.sealing import seal, unseal
from epicrisis.database import Database
from epicrisis.errors import Conflict
from epicrisis.fhir.codes import Code
from epicrisis.grouped import Grouped
from epicrisis.intake.watch import Watch
from epicrisis.sql import array, queries

_SQL = queries("epicrisis.intake")


class _Local(threading.local):
    """What no two threads may use at the same time."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=3)


_local = _Local()
MAX_BYTES = 256 * 1024 * 1024
RECORD_BYTES = 1024 * 1024
"""Originals of so many bytes at most are recorded together."""

_SPACE = b" \t\r\n"
_APART = b"\0"
"""Between a Bundle and what it was made from: no text that passed the gate holds it."""


class Plain(NamedTuple):
    """A message as it came. ``compact`` is ``raw`` without its indentation of ``unit`` blanks a level (and what space
    follows it), where ``unit`` is not 0: see `unindent`.

    ``source``: what came, where a door has made the FHIR Bundle ``raw`` from it (an HL7 v2 message). Both are kept: the
    one is what auditors want to see, the other what was decided, which later tables might make differently.
    """

    raw: bytes
    compact: bytes = b""
    unit: int = 0
    source: bytes = b""


def seal_original(plain: Plain, key: DataKey, message: UUID) -> bytes:
    """The message, compressed and sealed under the key of the patient it is about (or its own); without indentation,
    which is a quarter of what is left of it: a first byte, which no JSON text begins with, says how it comes back.
    """
    raw, compact, unit, source = plain
    kept = bytes([unit]) + compact + raw[len(raw.rstrip(_SPACE)) :] if unit else raw
    both = kept + _APART + source if source else kept
    return seal(_local.compressor.compress(both), key, b"original" + message.bytes)


def unseal_original(sealed: bytes, key: DataKey, message: UUID) -> bytes:
    """What was decided, byte for byte."""
    return _raw(_unsealed(sealed, key, message).partition(_APART)[0])


def unseal_source(sealed: bytes, key: DataKey, message: UUID) -> bytes:
    """What came, byte for byte."""
    kept, _, source = _unsealed(sealed, key, message).partition(_APART)
    return source or _raw(kept)


def _raw(kept: bytes) -> bytes:
    if not kept or kept[0] not in UNITS:
        return kept
    compact = kept[1:].rstrip(_SPACE)
    return reindent(compact, kept[0]) + kept[1 + len(compact) :]


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


_Wanted: TypeAlias = tuple[Message, Collection[UUID]]


class Unmapped(NamedTuple):
    """A local code that no code map had: in how many messages, when first and last."""

    operator: str
    system: str
    code: str
    messages: int
    first: datetime
    last: datetime


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
    """See `Inbox`; in the database ``intake``. Share one between threads: what they ask at the same moment is asked
    once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch = Watch(database)
        self._result: Grouped[UUID, Found] = Grouped(self._results)
        self._record: Grouped[_Wanted, set[UUID]] = Grouped(
            self._record_all, size=lambda one: len(one[0].original), most=RECORD_BYTES
        )

    def result(self, id_: UUID) -> Found:
        return self._result(id_)

    def _results(self, ids: Sequence[UUID]) -> list[Found]:
        with self._database.session() as cur:
            cur.execute(_SQL["find"], {"ids": array(ids)})
            found = {id_: (state, result) for id_, state, result in cur}
        return [found.get(id_) for id_ in ids]

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        return self._record((message, subjects))

    def _record_all(self, some: Sequence[_Wanted]) -> list[set[UUID]]:
        if len({message.id for message, _ in some}) < len(some):
            raise Conflict("a message was recorded twice at the same moment")
        messages = [message for message, _ in some]
        wanted = [(message.id, subject) for message, subjects in some for subject in subjects]
        with self._database.session() as cur:
            cur.execute(
                _SQL["record"],
                {
                    "ids": array(m.id for m in messages),
                    "times": [m.received for m in messages],
                    "operators": [m.operator for m in messages],
                    "clinics": [m.clinic for m in messages],
                    "doors": [m.door for m in messages],
                    "keys": array(m.key for m in messages),
                    "originals": [m.original for m in messages],
                    "codes": [m.codes for m in messages],
                    "whose": array(message for message, _ in wanted),
                    "subjects": array(subject for _, subject in wanted),
                },
            )
            others = {waiting: set(some) for waiting, some in cur}
        return [others.get(m.id, set()) for m in messages]

    def finish(self, id_: UUID, result: dict[str, Any], unmapped: Collection[Code] = ()) -> None:
        self._watch.end(id_, result, unmapped)

    def forget(self, id_: UUID) -> None:
        self._watch.end(id_)

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
        taken = self._watch.take(id_)
        if taken is None:
            yield False, None
            return
        try:
            state, result = taken
            yield True, None if state is None else (state, result)
        finally:
            self._watch.give(id_)
