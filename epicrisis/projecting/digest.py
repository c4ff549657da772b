"""Digests of tables: equal where the rows are equal, in whatever order they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from epicrisis.projection import Projection, Table


class Digest(NamedTuple):
    """How many rows, and 128 bits over all of them, in hexadecimal."""

    rows: int
    sum: str


def digest(cur: psycopg.Cursor[Any], source: sql.Composable, columns: Sequence[str]) -> Digest:
    """The digest of these columns of a table, a view or a SELECT in brackets.

    Each row's text is hashed (MD5) and the hashes are added up: against accidents and bugs, not against forgery.
    """
    cur.execute("SELECT set_config('timezone', 'UTC', true)")
    cur.execute(
        sql.SQL(
            "SELECT count(*), sum(('x' || left(hash, 16))::bit(64)::bigint),"
            " sum(('x' || right(hash, 16))::bit(64)::bigint)"
            " FROM (SELECT md5(ROW({})::text) AS hash FROM {} AS content) AS hashed"
        ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), source)
    )
    rows, high, low = cur.fetchone() or (0, 0, 0)
    return Digest(rows, f"{int(high or 0) % 2**64:016x}{int(low or 0) % 2**64:016x}")


def content(projection: Projection, table: Table) -> sql.Composed:
    """What a table says, as a SELECT in brackets: all its rows; of a counter the sums over all shards."""
    source = sql.Identifier(projection.schema, table.name)
    if not table.sums:
        return sql.SQL("(SELECT {} FROM {})").format(_list(table.columns), source)
    sums = [sql.SQL("sum({c})::bigint AS {c}").format(c=sql.Identifier(c)) for c in table.sums]
    key = _list(table.key)
    return sql.SQL("(SELECT {}, {} FROM {} GROUP BY {})").format(key, sql.SQL(", ").join(sums), source, key)


def columns_of(table: Table) -> tuple[str, ...]:
    """The columns of `content`, in its order."""
    return (*table.key, *table.sums) if table.sums else table.columns


def _list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
