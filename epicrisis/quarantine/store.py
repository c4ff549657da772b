"""Where refused messages are kept: in the database ``intake``, each operator's apart by row level security."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from psycopg.types.json import Jsonb

from epicrisis.database import Database
from epicrisis.sql import queries

_SQL = queries("epicrisis.quarantine")
WAITING, RESUBMITTED, DISCARDED = "waiting", "resubmitted", "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A message in quarantine, without its content.

    ``problems`` are FHIR issue codes and places. ``times`` is how often it came, at least; ``bytes`` its size. Once it
    is settled: when, by whom, and the ``reason`` for discarding it or the ``message`` of the inbox that came of it.
    """

    id: UUID
    operator: str
    clinic: str
    door: str
    first: datetime
    last: datetime
    times: int = 1
    problems: Sequence[tuple[str, str]]
    bytes: int
    state: str = WAITING
    settled: datetime | None = None
    by: str | None = None
    reason: str | None = None
    message: UUID | None = None


@dataclass(frozen=True, slots=True)
class Full:
    """How much of an operator's waits; ``id``: under which the message at hand waits already."""

    id: UUID | None
    messages: int
    bytes: int


class Store(Protocol):
    """What quarantine needs to remember. ``operator``: whose rows these are; nobody else's are seen or changed."""

    def waiting(self, operator: str, same: UUID) -> Full:
        """Whether the same message waits already, and how much of this operator's waits."""
        ...

    def keep(self, held: Held, same: UUID, key: UUID, sealed: bytes) -> bool:
        """Keep a message, or that it came once more with these problems. False where the same waits by another id."""
        ...

    def rows(
        self, operator: str | None, *, id: UUID | None = None, state: str | None = None, limit: int | None = None
    ) -> list[Held]:
        """What is or was in quarantine, oldest first; of every operator where the role may see that."""
        ...

    def sealed(self, operator: str | None, id: UUID) -> tuple[UUID, bytes] | None:
        """The sealed original and the id of its key; None where there is none (any more)."""
        ...

    def settle(self, held: Held) -> bool:
        """It was sent again, which takes the sealed original away, or discarded. False where it no longer waits."""
        ...


class PostgresStore:
    """See `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, operator: str, same: UUID) -> Full:
        with self._database.transaction(operator=operator) as cur:
            cur.execute(_SQL["waiting"], {"same": same, "operator": operator})
            [(id, messages, size)] = cur.fetchall()
            return Full(id, messages, size)

    def keep(self, held: Held, same: UUID, key: UUID, sealed: bytes) -> bool:
        with self._database.transaction(operator=held.operator) as cur:
            values = {
                "id": held.id,
                "same": same,
                "operator": held.operator,
                "clinic": held.clinic,
                "door": held.door,
                "at": held.last,
                "problems": Jsonb([{"code": code, "expression": place} for code, place in held.problems]),
                "bytes": held.bytes,
                "key": key,
                "sealed": sealed,
            }
            return cur.execute(_SQL["keep"], values).fetchone() is not None

    def rows(
        self, operator: str | None, *, id: UUID | None = None, state: str | None = None, limit: int | None = None
    ) -> list[Held]:
        with self._database.transaction(operator=operator) as cur:
            cur.execute(_SQL["rows"], {"id": id, "operator": operator, "state": state, "limit": limit})
            names = [column.name for column in cur.description or ()]
            found = [dict(zip(names, row, strict=True)) for row in cur]
        for row in found:
            row["problems"] = [(one["code"], one["expression"]) for one in row["problems"]]
        return [Held(**row) for row in found]

    def sealed(self, operator: str | None, id: UUID) -> tuple[UUID, bytes] | None:
        with self._database.transaction(operator=operator) as cur:
            row = cur.execute(_SQL["sealed"], {"id": id}).fetchone()
            return None if row is None or row[1] is None else (row[0], row[1])

    def settle(self, held: Held) -> bool:
        with self._database.transaction(operator=held.operator) as cur:
            values = {
                "id": held.id,
                "state": held.state,
                "at": held.settled,
                "by": held.by,
                "reason": held.reason,
                "message": held.message,
            }
            return cur.execute(_SQL["settle"], values).fetchone() is not None
