"""The one transaction helper. Every connection of Epicrisis comes from here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, LiteralString
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import set_json_dumps
from psycopg_pool import ConnectionPool, PoolTimeout

from epicrisis.errors import Unreachable

set_json_dumps(msgspec.json.encode)
UNLESS_SAID = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
UNLESS_SAID["tcp_user_timeout"] = 30_000
"""A server that is gone without a word is missed after half a minute: the system's own answer is two hours."""
PATIENCE = 10.0
"""Seconds that one who asks waits for a connection. So long, and not five minutes, the pool takes ever longer pauses:
then it begins anew with short ones, so that a server which was away for long is found again within seconds.
"""


class Database:
    """A small pool on one database, opened at the first transaction.

    A clinic's reader is bound to its clinic for one transaction by `transaction(clinic=…)`, and whoever works for an
    operator to that by `transaction(operator=…)`.
    """

    def __init__(self, dsn: str, *, size: int = 4, name: str = "") -> None:
        said = psycopg.conninfo.conninfo_to_dict(dsn)
        self.name = name or str(said.get("dbname") or "database")
        limits = {option: value for option, value in UNLESS_SAID.items() if option not in said}
        self._pool = ConnectionPool(
            dsn,
            min_size=0,
            max_size=size,
            open=False,
            timeout=PATIENCE,
            reconnect_timeout=PATIENCE,
            max_idle=60,
            kwargs={**limits, "application_name": f"epicrisis {self.name}", "autocommit": True},
        )
        self._open = False

    @contextmanager
    def transaction(
        self, *, clinic: str | None = None, operator: str | None = None, opened: UUID | None = None
    ) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor inside one transaction: committed at the end, rolled back on any error.

        ``opened`` is a patient whom the clinic does not know, and for whom a glass was broken.

        Raises
        ------
        Unreachable
            The server does not answer.
        """
        connection = self._connection()
        try:
            with connection.transaction(), connection.cursor(binary=True) as cur:
                if clinic is not None:
                    cur.execute("SELECT set_config('epicrisis.clinic', %s, true)", (clinic,))
                if opened is not None:
                    cur.execute("SELECT set_config('epicrisis.opened', %s, true)", (str(opened),))
                if operator is not None:
                    cur.execute("SELECT set_config('epicrisis.operator', %s, true)", (operator,))
                yield cur
        finally:
            self._pool.putconn(connection)

    @contextmanager
    def framed(
        self, first: LiteralString, last: LiteralString, parameters: Mapping[str, Any]
    ) -> Iterator[psycopg.Cursor[Any]]:
        """`transaction`, whose first query travels with its begin and whose last with its commit: two round trips
        less, where every one counts.
        """
        connection = self._connection()
        try:
            with connection.cursor(binary=True) as cur:
                with connection.pipeline():
                    connection.execute("BEGIN")
                    cur.execute(first, parameters)
                yield cur
                with connection.pipeline():
                    cur.execute(last, parameters)
                    connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        finally:
            self._pool.putconn(connection)

    @contextmanager
    def session(self) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor outside any transaction: for single reads (one round trip each), and for locks of the session."""
        connection = self._connection()
        try:
            with connection.cursor(binary=True) as cur:
                yield cur
        finally:
            self._pool.putconn(connection)

    def _connection(self) -> psycopg.Connection[Any]:
        if not self._open:
            self._pool.open()
            self._open = True
        try:
            return self._pool.getconn()
        except PoolTimeout:
            raise Unreachable(f"database {self.name} does not answer: see `epicrisis doctor`") from None

    def close(self) -> None:
        """Give all connections back."""
        if self._open:
            self._pool.close()
            self._open = False


def briefly(dsn: str, *, name: str) -> AbstractContextManager[Database]:
    """A database for as long as a command takes: one connection, given back whatever happens."""
    return closing(Database(dsn, size=1, name=name))
