"""Reading a read model by its stable name, whichever version is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from epicrisis.database import Database
from epicrisis.errors import Refused, SettingsError
from epicrisis.projection import Projection, Scope
from epicrisis.settings import Settings


def read(
    settings: Settings,
    projection: Projection,
    *,
    clinic: str | None = None,
    where: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of a read model, by key.

    With ``clinic`` the rows are read by the role that row level security binds to that clinic; without it by the
    auditor's, which sees every clinic's. ``where`` compares columns as text.

    Raises
    ------
    SettingsError
        A column in ``where`` does not exist.
    """
    if clinic is not None and projection.scope is not Scope.CLINIC:
        where = {**(where or {}), "clinic": clinic}
        clinic = None
    role = "reader" if clinic is not None else "auditor"
    database = Database(settings.dsn_for("cluster", role), size=1, name="cluster")
    view = sql.Identifier("read", projection.name)
    try:
        with database.transaction(clinic=clinic) as cur:
            cur.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(view))
            columns = [c.name for c in cur.description or ()]
            unknown = [name for name in where or {} if name not in columns]
            if unknown:
                raise SettingsError(
                    f"{projection.name} has no column {', '.join(unknown)}; there are: {', '.join(columns)}"
                )
            conditions = [sql.SQL("{}::text = %s").format(sql.Identifier(name)) for name in where or {}]
            first = next(iter(projection.tables.values()))
            order = [c for c in first.key if c in columns]
            query = sql.SQL("SELECT * FROM {}{}{}{}").format(
                view,
                sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
                sql.SQL(" ORDER BY ") + sql.SQL(", ").join(map(sql.Identifier, order)) if order else sql.SQL(""),
                sql.SQL(" LIMIT {}").format(sql.Literal(limit)) if limit is not None else sql.SQL(""),
            )
            cur.execute(query, list((where or {}).values()))
            return columns, [dict(zip(columns, row, strict=True)) for row in cur]
    finally:
        database.close()


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
