"""The tables of a projection in the database: schema per version, row level security, the read view."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from epicrisis.projection import Projection, Scope, Table
from epicrisis.sql import literal

_CLINIC = "clinic_id = current_setting('epicrisis.clinic', true)"


def create_projection(
    connection: psycopg.Connection[Any],
    projection: Projection,
    *,
    tables: str | None,
    reads: str | None,
    worker: str,
    reader: str,
    auditor: str,
) -> None:
    """Create the schema of this version (``tables``: its DDL, None if it is there) and its read views."""
    schema = sql.Identifier(projection.schema)
    roles = {"worker": sql.Identifier(worker), "reader": sql.Identifier(reader), "auditor": sql.Identifier(auditor)}
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
    if tables is not None:
        connection.execute(literal(tables))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {worker}, {reader}, {auditor}").format(schema, **roles))
        for table in projection.tables.values():
            _grant(connection, projection, table, roles)
    connection.execute("SET LOCAL search_path = pg_catalog")
    for table in projection.tables.values():
        _view(connection, projection, table, reads if table.name == projection.name else None, roles)


def _grant(
    connection: psycopg.Connection[Any], projection: Projection, table: Table, roles: dict[str, sql.Identifier]
) -> None:
    name = sql.Identifier(projection.schema, table.name)
    connection.execute(
        sql.SQL(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON {t} TO {worker}; GRANT SELECT ON {t} TO {reader}, {auditor}"
        ).format(t=name, **roles)
    )
    if projection.scope is not Scope.CLINIC:
        return
    mine: sql.Composable = sql.SQL(_CLINIC)
    if table.shared:
        first = sql.Identifier(projection.schema, next(iter(projection.tables.values())).name)
        mine = sql.SQL("EXISTS (SELECT FROM {} AS own WHERE own.subject = {}.subject)").format(first, name)
    connection.execute(
        sql.SQL(
            "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY; ALTER TABLE {t} FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY works ON {t} TO {worker} USING (true) WITH CHECK (true);"
            "CREATE POLICY audits ON {t} FOR SELECT TO {auditor} USING (true);"
            "CREATE POLICY reads ON {t} FOR SELECT TO {reader} USING ({mine})"
        ).format(t=name, mine=mine, **roles)
    )


def _view(
    connection: psycopg.Connection[Any],
    projection: Projection,
    table: Table,
    reads: str | None,
    roles: dict[str, sql.Identifier],
) -> None:
    """``read.<view>``: the stable name. Every row says whether it is incomplete (its subject is parked)."""
    view = sql.Identifier("read", projection.view(table))
    source = sql.Identifier(projection.schema, table.name)
    if reads is not None:
        body: sql.Composable = sql.SQL(literal(reads.rstrip().rstrip(";")))
    elif table.sums:
        keys = sql.SQL(", ").join(map(sql.Identifier, table.key))
        sums = sql.SQL(", ").join(
            sql.SQL("sum({0})::bigint AS {0}").format(sql.Identifier(column)) for column in table.sums
        )
        body = sql.SQL("SELECT {}, {} FROM {} GROUP BY {}").format(keys, sums, source, keys)
    else:
        body = sql.SQL("SELECT * FROM {}").format(source)
    whose = sql.SQL("" if table.sums else "AND p.subject = r.subject")
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(projection.schema)))
    connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
    connection.execute(
        sql.SQL(
            "CREATE VIEW {view} WITH (security_invoker) AS SELECT r.*, EXISTS ("
            "SELECT FROM projection.parked AS p WHERE p.consumer = {consumer} {whose}) AS incomplete FROM ({body}) AS r"
        ).format(view=view, consumer=sql.Literal(projection.schema), whose=whose, body=body)
    )
    connection.execute(sql.SQL("GRANT SELECT ON {} TO {worker}, {reader}, {auditor}").format(view, **roles))
    connection.execute("SET LOCAL search_path = pg_catalog")
