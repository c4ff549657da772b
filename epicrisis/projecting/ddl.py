"""The tables of a projection in the database: a schema per generation, row level security, the views that are read.

A generation has its own views in its own schema (``read_<view>``). The stable ones, ``read.<view>``, only lead to those
of the live generation: to swap is to lead them elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from epicrisis.errors import EpicrisisError
from epicrisis.projection import SHAPED_BY, Projection, Scope, Table
from epicrisis.sql import literal

_CLINIC = "clinic_id = current_setting('epicrisis.clinic', true)"
_OWN = "read_"
"""How a generation's own views begin."""
ROSTER = "roster"
"""The view that says which subjects a clinic sees: ``read.roster`` (clinic_id, subject)."""
SEEN = "_seen"
"""How the views end that the front doors read: of a clinic's subjects only."""
_MINE = (
    "((SELECT true FROM read.roster AS mine WHERE mine.clinic_id = {clinic} AND mine.subject = {subject})"
    " OR {subject} = nullif(current_setting('epicrisis.opened', true), '')::uuid)"
)
"""A subquery that is never turned into a list of a clinic's whole roster; or the one for whom a glass was broken."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the roles that have rights on a projection's tables."""

    worker: str
    reader: str
    auditor: str
    rebuilder: str
    door: str

    def names(self) -> dict[str, sql.Identifier]:
        return {name: sql.Identifier(getattr(self, name)) for name in self.__slots__}


def create_projection(
    connection: Connection, projection: Projection, *, tables: str, reads: str | None, roles: Roles
) -> None:
    """Create the schema of a generation at once: tables, rights, its views; shown under the stable names."""
    create_tables(connection, projection, tables)
    open_tables(connection, projection, roles)
    create_views(connection, projection, reads, roles)
    show(connection, projection.schema, roles)


def create_tables(connection: Connection, projection: Projection, tables: str) -> None:
    """The schema and its tables (``tables``: their DDL). Nobody but the owner sees into them yet.

    Each gets the column `SHAPED_BY`; a counter has none, for what sums over subjects is in nobody's history.
    """
    schema = sql.Identifier(projection.schema)
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
    connection.execute(literal(tables))
    for table in projection.tables.values():
        if not table.sums:
            connection.execute(
                sql.SQL("ALTER TABLE {} ADD COLUMN {} integer NOT NULL").format(
                    sql.Identifier(table.name), sql.Identifier(SHAPED_BY)
                )
            )
    connection.execute("SET LOCAL search_path = pg_catalog")


def open_tables(connection: Connection, projection: Projection, roles: Roles) -> None:
    """Rights and row level security: from now on a clinic's rows are that clinic's."""
    names = roles.names()
    connection.execute(
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {worker}, {reader}, {auditor}").format(
            sql.Identifier(projection.schema), **names
        )
    )
    for table in projection.tables.values():
        _open(connection, projection, table, names)
    open_to_door(connection, projection, roles)


def open_to_door(connection: Connection, projection: Projection, roles: Roles) -> None:
    """The role of the front doors sees a clinic's roster; again and again, for generations of earlier releases."""
    if not projection.roster:
        return
    name = sql.Identifier(projection.schema, next(iter(projection.tables.values())).name)
    connection.execute(
        sql.SQL(
            "GRANT USAGE ON SCHEMA {schema} TO {door}; GRANT SELECT ON {t} TO {door};"
            "DROP POLICY IF EXISTS shows ON {t};"
            "CREATE POLICY shows ON {t} FOR SELECT TO {door} USING ({mine})"
        ).format(
            schema=sql.Identifier(projection.schema), t=name, mine=sql.SQL(literal(_CLINIC)), door=roles.names()["door"]
        )
    )


def mine(subject: sql.Composable) -> sql.Composed:
    """Whether the clinic of this transaction has a subject in its roster."""
    return sql.SQL(_MINE).format(clinic=sql.SQL("current_setting('epicrisis.clinic', true)"), subject=subject)


def _open(connection: Connection, projection: Projection, table: Table, roles: dict[str, sql.Identifier]) -> None:
    name = sql.Identifier(projection.schema, table.name)
    connection.execute(
        sql.SQL(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON {t} TO {worker}; GRANT SELECT ON {t} TO {reader}, {auditor}"
        ).format(t=name, **roles)
    )
    if projection.scope is not Scope.CLINIC:
        return
    own: sql.Composable = sql.SQL(_CLINIC)
    if table.shared:
        first = sql.Identifier(projection.schema, next(iter(projection.tables.values())).name)
        own = sql.SQL("EXISTS (SELECT FROM {} AS own WHERE own.subject = {}.subject)").format(first, name)
    connection.execute(
        sql.SQL(
            "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY; ALTER TABLE {t} FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY works ON {t} TO {worker} USING (true) WITH CHECK (true);"
            "CREATE POLICY audits ON {t} FOR SELECT TO {auditor}, {rebuilder} USING (true);"
            "CREATE POLICY reads ON {t} FOR SELECT TO {reader} USING ({own})"
        ).format(t=name, own=own, **roles)
    )


def create_views(
    connection: Connection, projection: Projection, reads: str | None, roles: Roles, *, live: bool = False
) -> None:
    """The generation's own views, or those again (``reads``: the first table's SELECT, by default all its columns).

    Every row says whether it is incomplete (its subject is parked). Of the live generation `show` them again, too.
    """
    for table in projection.tables.values():
        query = _query(projection, table, reads if table.name == projection.name else None)
        view = projection.view(table)
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(projection.schema)))
        stable = sql.Identifier("read", view) if live else None
        _replace_view(connection, sql.Identifier(projection.schema, _OWN + view), query, roles, stable)
        connection.execute("SET LOCAL search_path = pg_catalog")
    if projection.roster:
        first = sql.Identifier(projection.schema, next(iter(projection.tables.values())).name)
        known = sql.SQL("SELECT clinic_id, subject FROM {}").format(first)
        _replace_view(connection, sql.Identifier(projection.schema, _OWN + ROSTER), known, roles)
    if projection.by_roster:
        _create_seen(connection, projection, roles, live=live)


def _create_seen(connection: Connection, projection: Projection, roles: Roles, *, live: bool) -> None:
    """Per table what the front doors see of it, with its owner's rights: whoever asks has none on the table itself.

    Row level security would do the same, but workers could not copy rows into the table any more.
    """
    door = roles.names()["door"]
    schema = sql.Identifier(projection.schema)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, door))
    for table in projection.tables.values():
        view = projection.view(table) + SEEN
        rows = sql.SQL("SELECT * FROM {} AS t WHERE ({}) OR {}").format(
            sql.Identifier(projection.schema, table.name),
            sql.SQL(literal(projection.to_all)),
            mine(sql.SQL("t.subject")),
        )
        stable = sql.Identifier("read", view) if live else None
        _replace_view(
            connection, sql.Identifier(projection.schema, _OWN + view), rows, roles, stable, option="security_barrier"
        )


def _query(projection: Projection, table: Table, reads: str | None) -> sql.Composed:
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
    return sql.SQL(
        "SELECT r.*, EXISTS (SELECT FROM projection.parked AS p WHERE p.consumer = {consumer} {whose}) AS incomplete "
        "FROM ({body}) AS r"
    ).format(consumer=sql.Literal(projection.schema), whose=whose, body=body)


def show(connection: Connection, schema: str, roles: Roles, instead_of: str | None = None) -> None:
    """Lead the stable views to this generation's, and remove those that only ``instead_of`` had.

    Raises
    ------
    EpicrisisError
        The columns of a view differ, and something that is not ours rests on it.
    """
    shown = views(connection, schema)
    for view in shown:
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, _OWN + view))
        _replace_view(connection, sql.Identifier("read", view), query, roles)
    for view in views(connection, instead_of) if instead_of else ():
        if view not in shown:
            connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier("read", view)))


def views(connection: Connection, schema: str) -> list[str]:
    """The stable names of a generation's views."""
    found = connection.execute(
        "SELECT viewname::text FROM pg_views WHERE schemaname = %s AND starts_with(viewname, %s) ORDER BY 1",
        (schema, _OWN),
    )
    return [str(name).removeprefix(_OWN) for (name,) in found]


def _replace_view(
    connection: Connection,
    view: sql.Identifier,
    query: sql.Composable,
    roles: Roles,
    upon: sql.Identifier | None = None,
    *,
    option: str = "security_invoker",
) -> None:
    """Replaced in place, so that what rests on it stays; made anew (without ``upon``) where its columns are others."""
    create = sql.SQL("CREATE OR REPLACE VIEW {} WITH ({}) AS {}").format(view, sql.SQL(literal(option)), query)
    try:
        with connection.transaction():
            connection.execute(create)
    except psycopg.errors.InvalidTableDefinition:
        try:
            for one in (upon, view) if upon else (view,):
                connection.execute(sql.SQL("DROP VIEW {}").format(one))
        except psycopg.errors.DependentObjectsStillExist:
            raise EpicrisisError(
                f"the columns of {view.as_string()} change, and something that is not ours rests on it: "
                "drop that, go on, then make it again"
            ) from None
        connection.execute(create)
    grant = sql.SQL("GRANT SELECT ON {} TO {worker}, {reader}, {auditor}, {door}").format(view, **roles.names())
    connection.execute(grant)
