"""The relay's side of a journal in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.database import Database
from epicrisis.journal.outgoing import Move, News, Row
from epicrisis.sql import queries

_SQL = queries("epicrisis.journal")


class PostgresOutgoing:
    """See `Outgoing`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def look(self) -> Iterator[_Cursor]:
        with self._database.session() as cur:
            yield _Cursor(cur)

    @contextmanager
    def transaction(self) -> Iterator[_Cursor]:
        with self._database.transaction() as cur:
            yield _Cursor(cur)

    def close(self) -> None:
        self._database.close()


class _Cursor:
    """See `Look` and `Leasing`."""

    def __init__(self, cur: psycopg.Cursor[Any]) -> None:
        self._cur = cur

    def position(self) -> int:
        self._cur.execute(_SQL["position"])
        row = self._cur.fetchone()
        return row[0] if row else 0

    def news(self, shares: Collection[int]) -> list[News]:
        self._cur.execute(_SQL["news"], {"shares": list(shares)})
        return [News(*row) for row in self._cur]

    def fresh(self, news: Sequence[News], limit: int) -> list[Row]:
        wanted = {"slices": [n.slice for n in news], "cursors": [n.cursor for n in news], "limit": limit}
        self._cur.execute(_SQL["fresh"], wanted)
        return [Row(*row) for row in self._cur]

    def join(self, owner: UUID, seconds: float) -> int:
        self._cur.execute(_SQL["join_relays"], _ttl(owner, seconds))
        self._cur.execute(_SQL["relays_alive"], _ttl(owner, seconds))
        alive = self._cur.fetchone()
        return alive[0] if alive else 1

    def leave(self, owner: UUID) -> None:
        self._cur.execute(_SQL["leave_relays"], {"owner": owner})

    def renew(self, owner: UUID, seconds: float) -> dict[int, int]:
        self._cur.execute(_SQL["renew"], _ttl(owner, seconds))
        return dict(self._cur.fetchall())

    def acquire(self, owner: UUID, seconds: float, limit: int) -> dict[int, int]:
        self._cur.execute(_SQL["acquire"], {**_ttl(owner, seconds), "limit": limit})
        return dict(self._cur.fetchall())

    def release(self, owner: UUID, shares: Collection[int]) -> None:
        self._cur.execute(_SQL["release"], {"owner": owner, "shares": list(shares)})

    def move(self, moves: Sequence[Move], epochs: Mapping[int, int]) -> int:
        self._cur.execute(
            _SQL["move_cursors"],
            {
                "slices": [m.slice for m in moves],
                "old": [m.old for m in moves],
                "new": [m.new for m in moves],
                "shares": list(epochs),
                "epochs": list(epochs.values()),
            },
        )
        return len(self._cur.fetchall())


def _ttl(owner: UUID, seconds: float) -> dict[str, Any]:
    return {"owner": owner, "ttl": f"{seconds} seconds"}
