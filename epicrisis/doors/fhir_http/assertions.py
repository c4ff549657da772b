"""Assertions count once: what was used, until it expires, for all server processes."""

from __future__ import annotations

import threading
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from epicrisis.database import Database
from epicrisis.sql import queries

_SQL = queries(__package__ or "epicrisis.doors.fhir_http")


class Assertions(Protocol):
    """Remembers what was used."""

    def first_use(self, client: str, jti: str, now: datetime, expires: datetime) -> bool:
        """Whether this client's assertion was not used before; it is now."""
        ...


class PostgresAssertions:
    """In the database ``intake``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def first_use(self, client: str, jti: str, now: datetime, expires: datetime) -> bool:
        with self._database.session() as cur:
            cur.execute(_SQL["first_use"], {"digest": _digest(client, jti), "now": now, "expires": expires})
            return cur.fetchone() is not None


class MemoryAssertions:
    """The same contract for one process, for tests."""

    def __init__(self) -> None:
        self._used: dict[bytes, datetime] = {}
        self._lock = threading.Lock()

    def first_use(self, client: str, jti: str, now: datetime, expires: datetime) -> bool:
        with self._lock:
            self._used = {digest: at for digest, at in self._used.items() if at >= now}
            digest = _digest(client, jti)
            if digest in self._used:
                return False
            self._used[digest] = expires
            return True


def _digest(client: str, jti: str) -> bytes:
    return sha256(f"{client}|{jti}".encode()).digest()[:16]
