"""A new generation's tables: made empty and bare, filled elsewhere, then given their indexes, rights and views."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql

from epicrisis.projecting import ddl
from epicrisis.projecting.generations import BUILDING, register
from epicrisis.projection import Projection, Table
from epicrisis.sql import literal, queries

_SQL = queries("epicrisis.rebuild")
PART_BYTES = 8 * 1024 * 1024
"""About so much of the ledger is a part, if the ledger's own division allows it."""
LEAST_PARTS = 8

Cursor = psycopg.Cursor[Any]


def begin(cur: Cursor, projection: Projection, tables: str) -> Projection:
    """Make the next generation, empty: no indexes yet, no rights, nothing shown; returns it.

    It will read the log on from where the ledger stands now: whatever part is filled later holds at least that.
    """
    row = cur.execute(_SQL["next_number"]).fetchone()
    assert row is not None
    made = projection.in_schema(f"{projection.name}_v{projection.version}_g{row[0]}")
    ddl.create_tables(cur.connection, made, tables)
    statements = cur.execute(_SQL["indexes"], {"schema": made.schema}).fetchall()
    for _, remove in statements:
        cur.execute(literal(remove))
    register(cur, made, BUILDING)
    cur.execute(_SQL["keep_indexes"], {"schema": made.schema, "indexes": [make for make, _ in statements]})
    cur.execute(_SQL["begin_offsets"], {"schema": made.schema})
    parts = divided(cur)
    cur.execute(
        _SQL["add_parts"],
        {"schema": made.schema, "first": [first for first, _ in parts], "last": [last for _, last in parts]},
    )
    return made


def divided(cur: Cursor) -> list[tuple[int, int]]:
    """The parts to fill in: first and last slice. Each is one or more whole tables of the ledger, read end to end."""
    tables = []
    for bounds, size in cur.execute(_SQL["ledger_parts"]).fetchall():
        first, end = (int(number) for number in re.findall(r"\d+", bounds))
        tables.append((first, end - 1, size))
    tables.sort()
    wanted = min(sum(size for _, _, size in tables) / LEAST_PARTS, PART_BYTES)
    parts: list[tuple[int, int]] = []
    begun, bytes_ = None, 0
    for first, last, size in tables:
        begun, bytes_ = first if begun is None else begun, bytes_ + size
        if bytes_ >= wanted or last == tables[-1][1]:
            parts.append((begun, last))
            begun, bytes_ = None, 0
    return parts


def finish(cur: Cursor, projection: Projection, reads: str | None, roles: ddl.Roles) -> None:
    """Everything is in: sum the counters up, make the indexes, the rights and the generation's own views."""
    cur.execute("SET LOCAL maintenance_work_mem = '128MB'")
    for table in projection.tables.values():
        if table.sums:
            _sum_up(cur, projection, table)
    row = cur.execute(_SQL["kept_indexes"], {"schema": projection.schema}).fetchone()
    for statement in row[0] if row else ():
        cur.execute(literal(statement))
    for table in projection.tables.values():
        cur.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(projection.schema, table.name)))
    ddl.open_tables(cur.connection, projection, roles)
    ddl.create_views(cur.connection, projection, reads, roles)
    cur.execute(_SQL["filled"], {"schema": projection.schema})


def _sum_up(cur: Cursor, projection: Projection, table: Table) -> None:
    """Each part was filled with its own shard: one is enough from now on."""
    target, sums = sql.Identifier(projection.schema, table.name), sql.Identifier("pg_temp", "sums")
    names = sql.SQL(", ").join(map(sql.Identifier, (*table.key, *table.sums)))
    key = sql.SQL(", ").join(map(sql.Identifier, table.key))
    added = sql.SQL(", ").join(sql.SQL("sum({c}) AS {c}").format(c=sql.Identifier(c)) for c in table.sums)
    for statement in (
        sql.SQL("CREATE TEMP TABLE sums ON COMMIT DROP AS SELECT {key}, {added} FROM {target} GROUP BY {key}"),
        sql.SQL("TRUNCATE {target}"),
        sql.SQL("INSERT INTO {target} ({names}, shard) SELECT {names}, 0 FROM {sums}"),
        sql.SQL("DROP TABLE {sums}"),
    ):
        cur.execute(statement.format(target=target, sums=sums, names=names, key=key, added=added))


def remove(cur: Cursor, schema: str) -> None:
    """Drop a generation that is not read. A worker that still follows it notices, and goes on without it."""
    cur.execute(_SQL["nobody_takes"])
    cur.execute(_SQL["forget_offsets"], {"schema": schema})
    cur.execute(_SQL["forget"], {"schema": schema})
    cur.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
