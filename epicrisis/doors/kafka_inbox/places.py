"""Where each partition is read on, and which process reads it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol
from zlib import crc32

import psycopg

from epicrisis.database import Database
from epicrisis.doors.kafka_inbox.judge import Place
from epicrisis.errors import Unreachable
from epicrisis.sql import queries

_SQL = queries("epicrisis.doors.kafka_inbox")
SILENCE_SECONDS, LOOK_SECONDS = 15, 2.0
_MEMBER = 0x1B0C5


class Places(Protocol):
    """Where each partition is read on."""

    def start(self, place: Place, offset: int) -> tuple[int, bytes | None]:
        """The next offset (``offset`` where it was never read), and the answer to the message there, if it was refused
        and the answer perhaps not sent."""
        ...

    def refuse(self, place: Place, offset: int, answer: bytes) -> bytes:
        """Keep the answer to a refused message before it is sent; returns the one that counts, the first."""
        ...

    def done(self, place: Place, next_offset: int) -> None:
        """Everything before was answered. Never goes back."""
        ...


class PostgresPlaces:
    """See `Places`; in the database ``intake``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, place: Place, offset: int) -> tuple[int, bytes | None]:
        with self._database.session() as cur:
            cur.execute(_SQL["start"], {**_named(place), "topic": place.topic, "offset": offset})
            [(next_offset, refusal)] = cur.fetchall()
            return next_offset, refusal

    def refuse(self, place: Place, offset: int, answer: bytes) -> bytes:
        with self._database.session() as cur:
            row = cur.execute(_SQL["refuse"], {**_named(place), "offset": offset, "refusal": answer}).fetchone()
            return answer if row is None else bytes(row[0])

    def done(self, place: Place, next_offset: int) -> None:
        with self._database.session() as cur:
            cur.execute(_SQL["done"], {**_named(place), "offset": next_offset})


def _named(place: Place) -> dict[str, object]:
    return {"topic_id": place.topic_id, "partition": place.partition}


class Leases:
    """The partitions that this process reads: a fair share of all, each a lock of one session in PostgreSQL.

    The session ends with the process, or when the server has heard nothing for `SILENCE_SECONDS`: a process that was
    frozen loses its partitions. What it still does when it wakes up changes nothing: intake knows the message by name.
    Processes that know the same partitions share them; one that knows others takes what is free of those.
    """

    def __init__(self, dsn: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._dsn = dsn
        self._clock = clock
        self._session: psycopg.Connection[tuple[object, ...]] | None = None
        self._due = 0.0
        self._mine: list[Place] = []
        self._kind = 0

    def keep(self, places: Sequence[Place]) -> list[Place]:
        """Those of ``places`` that are this process's now. Asks the server when it is time, or when they have changed.

        Raises
        ------
        Unreachable
            The session is lost, and all partitions with it.
        """
        gone = [place for place in self._mine if place not in places]
        if self._clock() < self._due and not gone:
            return list(self._mine)
        try:
            session = self._session or self._open()
            self._join(session, _kind_of(places))
            [(alive,)] = session.execute(_SQL["alive"], {"member": _MEMBER, "kind": self._kind}).fetchall()
            fair = -(-len(places) // int(str(alive)))
            for place in [*gone, *[p for p in self._mine if p not in gone][fair:]]:
                self._mine.remove(place)
                session.execute(_SQL["give"], {"name": _lock(place)})
            for place in places:
                if len(self._mine) >= fair:
                    break
                if place not in self._mine and session.execute(_SQL["take"], {"name": _lock(place)}).fetchone() == (
                    True,
                ):
                    self._mine.append(place)
        except psycopg.Error:
            self.close()
            raise Unreachable("the session that holds the inboxes' partitions was lost: taken anew") from None
        self._due = self._clock() + LOOK_SECONDS
        return list(self._mine)

    def _open(self) -> psycopg.Connection[tuple[object, ...]]:
        session = psycopg.connect(self._dsn, autocommit=True, connect_timeout=5, application_name="epicrisis inbox")
        self._session = session
        session.execute(_SQL["alone"], {"silence": f"{SILENCE_SECONDS}s"})
        return session

    def _join(self, session: psycopg.Connection[tuple[object, ...]], kind: int) -> None:
        if kind == self._kind:
            return
        if self._kind:
            session.execute(_SQL["leave"], {"member": _MEMBER, "kind": self._kind})
        session.execute(_SQL["join"], {"member": _MEMBER, "kind": kind})
        self._kind = kind

    def close(self) -> None:
        """Give everything back."""
        session, self._session = self._session, None
        self._mine, self._due, self._kind = [], 0.0, 0
        if session is not None:
            session.close()


def _kind_of(places: Sequence[Place]) -> int:
    """The same number for the same partitions; not 0."""
    return crc32("|".join(sorted(map(_lock, places))).encode()) % 0x7FFFFFFF + 1


def _lock(place: Place) -> str:
    return f"inbox {place.topic_id}/{place.partition}"
