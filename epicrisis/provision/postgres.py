"""Databases, roles, tables and rights in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from epicrisis.codec.fingerprint import remember
from epicrisis.errors import SettingsError
from epicrisis.found import projections, services, sql_of
from epicrisis.projecting.ddl import Roles, create_projection, create_views, mine, open_to_door, show
from epicrisis.projecting.generations import LIVE, generations, register
from epicrisis.projection import Projection, Scope
from epicrisis.provision import grants
from epicrisis.settings import Settings
from epicrisis.sql import ddl, literal

OTHER = ("intake", "cluster", "keys")


WHOLE_TABLE = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
"""How PostgreSQL reads a table whole. Who looks rows up by key never wants that; but a plan that was made while the
table was small, and is kept, would go on doing it, and cost more with every row.
"""
ONE_PLAN = {"plan_cache_mode": "force_generic_plan"}
"""Who asks small questions, again and again: for ids in an array PostgreSQL takes its own guess of ten for more than
there mostly are, and plans anew each time, which costs up to eight times the answer.
"""
ASKED = "20s"
"""So long a query may take that a client of a front door asks for."""
FROZEN = "10s"
"""So long a transaction may wait for its process: less than a worker is missed by its group."""


def databases() -> list[str]:
    """The databases of an installation: one per service, and intake, cluster, keys."""
    return [*services(), *OTHER]


def provision(settings: Settings) -> list[str]:
    """Create roles and databases, apply what DDL is missing, grant rights; returns the projections to be rebuilt."""
    with psycopg.connect(settings.admin_dsn(), autocommit=True) as admin:
        _roles(admin, settings)
        there = {name for (name,) in admin.execute("SELECT datname FROM pg_database")}
        for name in databases():
            database, owner = settings.database(name), settings.role("owner")
            if database not in there:
                admin.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
                )
            admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
            for role in logins_of(name):
                admin.execute(
                    sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                        sql.Identifier(database), sql.Identifier(settings.role(role))
                    )
                )
    for name in services():
        _apply(settings, name, ["epicrisis.journal"], grants.JOURNAL, service=name)
    own = ["epicrisis.intake", "epicrisis.quarantine", "epicrisis.doors.fhir_http", "epicrisis.doors.kafka_inbox"]
    _apply(settings, "intake", own, grants.INTAKE + grants.QUARANTINE + grants.SMART + grants.KAFKA_INBOX)
    _apply(settings, "keys", ["epicrisis.codec"], grants.KEYS)
    _remember_wrapping_key(settings)
    _apply(settings, "cluster", ["epicrisis.ledger", "epicrisis.projecting", "epicrisis.audit"], grants.CLUSTER)
    with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
        roles = roles_of(settings)
        waiting = _projections(connection, roles)
        _ledger(connection, roles)
        return waiting


def logins_of(database: str) -> Iterable[str]:
    """The roles that may log in to a database."""
    if database in services():
        return (database, "relay", "worker", "auditor")
    return {
        "intake": ("intake", "reader", "auditor"),
        "cluster": ("worker", "reader", "auditor", "rebuilder", "door", "checkpoint"),
        "keys": ("intake", "worker", "auditor", "rebuilder", "door", "access_audit"),
    }[database]


def _roles(admin: psycopg.Connection[Any], settings: Settings) -> None:
    there = {name for (name,) in admin.execute("SELECT rolname FROM pg_roles")}
    owner = settings.role("owner")
    if owner not in there:
        admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(owner)))
    for name in [*services(), *grants.LOGINS]:
        role = settings.role(name)
        command = "ALTER" if role in there else "CREATE"
        admin.execute(
            sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {}").format(
                sql.SQL(literal(command)),
                sql.Identifier(role),
                sql.Literal(settings.secret(f"role.{name}", create=True)),
            )
        )
        for setting, value in _settings_of(name).items():
            admin.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(role), sql.Identifier(setting), sql.Literal(value)
                )
            )


def _settings_of(role: str) -> dict[str, str]:
    """What holds in a role's sessions, whatever the server's own settings are."""
    found = {
        # Moments are read in the session's zone: a clinic's server has its country's, the official image `Etc/UTC`.
        "timezone": "UTC",
        # A process that is frozen within a transaction must not keep its locks from whoever takes its work over.
        "idle_in_transaction_session_timeout": FROZEN,
    }
    if role == "door":
        found["statement_timeout"] = ASKED
    if role not in grants.SURVEYORS:
        found |= dict.fromkeys(WHOLE_TABLE, "off")
    if role in ("intake", "door", *services()):
        found |= ONE_PLAN
    return found


def _apply(
    settings: Settings,
    name: str,
    packages: Iterable[str],
    rights: str,
    *,
    service: str = "",
) -> None:
    """Run the DDL files that this database has not seen, each once, as its owner, all in one transaction."""
    names = {role: sql.Identifier(settings.role(role)) for role in (*grants.LOGINS, *services())}
    names["service"] = sql.Identifier(settings.role(service))
    names["database"] = sql.Identifier(settings.database(name))
    with psycopg.connect(settings.admin_dsn(settings.database(name))) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(settings.role("owner"))))
        connection.execute("CREATE SCHEMA IF NOT EXISTS epicrisis")
        connection.execute("CREATE TABLE IF NOT EXISTS epicrisis.applied (name text PRIMARY KEY, at timestamptz)")
        done = {row[0] for row in connection.execute("SELECT name FROM epicrisis.applied")}
        for package in packages:
            for number, text in enumerate(ddl(package), 1):
                if (key := f"{package}/{number}") not in done:
                    connection.execute(text)
                    connection.execute("INSERT INTO epicrisis.applied VALUES (%s, now())", (key,))
        connection.execute(sql.SQL(literal(rights)).format(**names))


def _projections(connection: psycopg.Connection[Any], roles: Roles) -> list[str]:
    """A first generation for whom there is none, the views anew; returns those read in another version than the code's.

    All of it belongs to the role that rebuilds.
    """
    waiting = []
    done = {name for (name,) in connection.execute("SELECT name FROM epicrisis.applied")}
    with connection.cursor() as cur:
        known = generations(cur)
        for projection in projections().values():
            own = [g for g in known if g.projection == projection.name]
            tables, reads = sql_of(projection)
            older = not own and f"projections.{projection.name}/{projection.version}" in done
            if older:
                _adopt(connection, projection, roles)
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(roles.rebuilder)))
            if older:
                create_views(connection, projection, reads, roles)
                show(connection, projection.schema, roles)
            elif not own:
                create_projection(connection, projection, tables=tables, reads=reads, roles=roles)
            if not own:
                register(cur, projection, LIVE)
            for one in own:
                live = one.state == LIVE
                if one.version == projection.version and one.filled_at:
                    open_to_door(connection, projection.in_schema(one.schema), roles)
                    create_views(connection, projection.in_schema(one.schema), reads, roles, live=live)
                    if live:
                        show(connection, one.schema, roles)
                elif live:
                    waiting.append(projection.name)
            connection.execute("RESET ROLE")
    return waiting


def _ledger(connection: psycopg.Connection[Any], roles: Roles) -> None:
    """What the front doors see of the ledger; it rests on the roster, which is there only now."""
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(roles.rebuilder)))
    shown = mine(sql.SQL("event.subject"))
    connection.execute(sql.SQL(grants.SEEN).format(mine=shown, door=sql.Identifier(roles.door)))
    connection.execute("RESET ROLE")


def _adopt(connection: psycopg.Connection[Any], projection: Projection, roles: Roles) -> None:
    """Tables of a release that knew no generations."""
    rebuilder = sql.Identifier(roles.rebuilder)
    schema = sql.Identifier(projection.schema)
    connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema, rebuilder))
    for table in projection.tables.values():
        name = sql.Identifier(projection.schema, table.name)
        connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(name, rebuilder))
        connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier("read", projection.view(table))))
        if projection.scope is Scope.CLINIC:
            both = sql.SQL("ALTER POLICY audits ON {} TO {}, {}")
            connection.execute(both.format(name, sql.Identifier(roles.auditor), rebuilder))


def roles_of(settings: Settings) -> Roles:
    """The roles that have rights on read models."""
    return Roles(**{name: settings.role(name) for name in ("worker", "reader", "auditor", "rebuilder", "door")})


def _remember_wrapping_key(settings: Settings) -> None:
    """Where this step is not given the key, the first intake that starts does it."""
    try:
        key = settings.wrapping_key_bytes()
    except SettingsError:
        if settings.wrapping_key is not None:
            raise
        return
    with psycopg.connect(settings.admin_dsn(settings.database("keys"))) as connection, connection.cursor() as cur:
        cur.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(settings.role("owner"))))
        remember(cur, key)


def drop(settings: Settings) -> None:
    """Drop this namespace's databases and roles."""
    with psycopg.connect(settings.admin_dsn(), autocommit=True) as admin:
        for name in databases():
            database = sql.Identifier(settings.database(name))
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        for name in [*services(), *grants.LOGINS, "owner"]:
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(settings.role(name))))
