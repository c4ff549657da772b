"""Reading a read model by its stable name, whichever version is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import DataError, adapters, sql

from epicrisis.database import briefly
from epicrisis.errors import Refused, SettingsError
from epicrisis.found import projection, projections
from epicrisis.projecting.generations import LIVE, generations
from epicrisis.projection import SHAPED_BY, Place, Projection, Scope, Table
from epicrisis.settings import Settings


def read(
    settings: Settings,
    projection: Projection,
    *,
    table: Table | None = None,
    clinic: str | None = None,
    where: Mapping[str, str] | None = None,
    columns: Sequence[str] = (),
    limit: int | None = None,
) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of a read model, by key.

    With ``clinic`` the rows are read by the role that row level security binds to that clinic; without it by the
    auditor's, which sees every clinic's. ``where`` holds values as people write them (``yes``, ``2026-03-01``): an
    empty one finds empty columns, and of an array one of its elements is enough. ``table`` is another one than the
    first.

    Raises
    ------
    SettingsError
        A column does not exist, a value does not fit its column, or the rows are not kept per clinic.
    """
    table = table or next(iter(projection.tables.values()))
    by_column = clinic is not None and projection.scope is not Scope.CLINIC
    if clinic is not None and by_column:
        where, clinic = {**(where or {}), "clinic": clinic}, None
    role = "reader" if clinic is not None else "auditor"
    view = sql.Identifier("read", projection.view(table))
    cluster = briefly(settings.dsn_for("cluster", role), name="cluster")
    with cluster as database, database.transaction(clinic=clinic) as cur:
        cur.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(view))
        lists = {c.name: _is_array(c.type_code) for c in cur.description or ()}
        known = list(lists)
        if by_column and "clinic" not in known:
            raise SettingsError(f"{projection.view(table)} is not kept per clinic: leave --clinic out")
        if unknown := [name for name in (*columns, *(where or {})) if name not in known]:
            raise SettingsError(
                f"{projection.view(table)} has no column {', '.join(unknown)}; there are: {', '.join(known)}"
            )
        chosen = list(columns) or known
        conditions = [_condition(name, value, lists[name]) for name, value in (where or {}).items()]
        order = [c for c in table.key if c in known]
        query = sql.SQL("SELECT {} FROM {}{}{}{}").format(
            sql.SQL(", ").join(map(sql.Identifier, chosen)),
            view,
            sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
            sql.SQL(" ORDER BY ") + sql.SQL(", ").join(map(sql.Identifier, order)) if order else sql.SQL(""),
            sql.SQL(" LIMIT {}").format(sql.Literal(limit)) if limit is not None else sql.SQL(""),
        )
        try:
            cur.execute(query, [value for value in (where or {}).values() if value])
        except DataError:
            raise SettingsError(
                f"a value does not fit its column ({', '.join(where or {})}): write it as the table shows it"
            ) from None
        return chosen, [dict(zip(chosen, row, strict=True)) for row in cur]


def _is_array(oid: int) -> bool:
    found = adapters.types.get(oid)
    return found is not None and found.array_oid == oid


def _condition(name: str, value: str, is_array: bool) -> sql.Composed:
    if not value:
        return sql.SQL("coalesce({}::text, '') IN ('', '{{}}')").format(sql.Identifier(name))
    return sql.SQL("%s = ANY({})" if is_array else "{} = %s").format(sql.Identifier(name))


def shaped(settings: Settings, projection: Projection, subject: UUID) -> dict[Place, int]:
    """What a subject's rows say that shaped them last, in the generation that is read: numbers in its history."""
    found: dict[Place, int] = {}
    with briefly(settings.dsn_for("cluster", "auditor"), name="cluster") as database, database.transaction() as cur:
        live = [g for g in generations(cur, projection.name) if g.state == LIVE and g.version == projection.version]
        keyed = [table for table in projection.tables.values() if live and not table.sums]
        for table in keyed:
            query = sql.SQL("SELECT {}, {} FROM {} WHERE subject = %s").format(
                sql.SQL(", ").join(map(sql.Identifier, table.key)),
                sql.Identifier(SHAPED_BY),
                sql.Identifier(live[0].schema, table.name),
            )
            for *key, n in cur.execute(query, (subject,)):
                found[table.name, tuple(key)] = n
    return found


def find(name: str) -> tuple[Projection, Table]:
    """A read model by its view's name: a projection's own, or that of another of its tables.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    for known in projections().values():
        for table in known.tables.values():
            if known.view(table) == name:
                return known, table
    found = projection(name)
    return found, next(iter(found.tables.values()))


def conditions(pairs: list[str]) -> dict[str, str]:
    """``["status=accepted"]`` as a mapping.

    Raises
    ------
    Refused
        One of them has no ``=``.
    """
    split = [pair.partition("=") for pair in pairs]
    if any(not sign for _, sign, _ in split):
        raise Refused("write a condition as column=value, for instance --where status=accepted")
    return {name: value for name, _, value in split}
