"""The servers that the tests run on: embedded (the default), containers, or others named in the environment.

EPICRISIS_TEST_INFRA=embedded         started by `epicrisis.local` under .epicrisis-test
EPICRISIS_TEST_INFRA=testcontainers   a container each; images in EPICRISIS_TEST_KAFKA_IMAGE, …_POSTGRES_IMAGE
EPICRISIS_TEST_INFRA=external         EPICRISIS_KAFKA_BOOTSTRAP, …_KAFKA_ADMIN_PASSWORD, EPICRISIS_DSN, both keys
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from epicrisis import local
from epicrisis.local import kafka
from epicrisis.local.launch import start_time
from epicrisis.local.state import State
from epicrisis.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[1]
KINDS = ("embedded", "testcontainers", "external")
KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18"
ZONE = "Asia/Kolkata"
"""A server's time zone, where a test may choose: nothing may depend on it."""


def kind() -> str:
    chosen = os.environ.get("EPICRISIS_TEST_INFRA", "embedded")
    if chosen not in KINDS:
        raise ValueError(f"EPICRISIS_TEST_INFRA is one of {', '.join(KINDS)}")
    return chosen


def state_folder() -> Path:
    return Path(os.environ.get("EPICRISIS_TEST_STATE", CHECKOUT / ".epicrisis-test"))


def header() -> str:
    match kind():
        case "embedded":
            return f"servers: embedded Apache Kafka and PostgreSQL, state in {state_folder()}"
        case "testcontainers":
            return f"servers: testcontainers, {image('KAFKA', KAFKA_IMAGE)} and {image('POSTGRES', POSTGRES_IMAGE)}"
        case other:
            return f"servers: {other}, named in the environment"


def image(server: str, official: str) -> str:
    return os.environ.get(f"EPICRISIS_TEST_{server}_IMAGE", official)


@contextmanager
def servers(scratch: Path) -> Iterator[dict[str, Any]]:
    """Running servers, as keyword arguments for `Settings`."""
    match kind():
        case "embedded":
            with embedded(state_folder()) as found:
                yield found
        case "testcontainers":
            with containers(scratch) as found:
                yield found
        case _:
            settings = Settings.read(state=scratch)
            assert not settings.local_kafka, "external servers: set EPICRISIS_KAFKA_BOOTSTRAP"
            assert settings.dsn is not None, "external servers: set EPICRISIS_DSN"
            yield {"state": scratch}


@contextmanager
def embedded(folder: Path) -> Iterator[dict[str, Any]]:
    """Local servers, shared by test runs that overlap: who started them does not matter, the last one stops them.

    Servers that ran before the first test run came are left alone.
    """
    state = State(folder)
    users = state.folder / "test-runs"
    ours = users / str(os.getpid())
    started_by_tests = users / "started-by-tests"
    settings = Settings(state=folder)
    with state.lock("test-runs.lock"):
        users.mkdir(exist_ok=True)
        if not others(users):
            started_by_tests.unlink(missing_ok=True)
            if any(part.state != "running" for part in local.status(settings)):
                started_by_tests.touch()
        ours.write_text(start_time(os.getpid()) or "")
    try:
        local.up(settings)
        if started_by_tests.exists():
            with state.lock("test-runs.lock"):
                do_not_sync(settings)
        yield {"state": folder}
    finally:
        with state.lock("test-runs.lock"):
            ours.unlink(missing_ok=True)
            if not others(users) and started_by_tests.exists():
                local.down(settings)


def do_not_sync(settings: Settings) -> None:
    """PostgreSQL waits for no disk: tests kill processes, and pull no plug. Databases are dropped ten times as fast.

    Nor does it spend the processor on what tests do by the thousand: what makes databases, the administrator, does not
    compress its log (that was three quarters of each), and passwords are hashed once (of a connection, two thirds).
    """
    with psycopg.connect(settings.admin_dsn(), autocommit=True) as admin:
        for name, value in {"fsync": "off", "full_page_writes": "off", "scram_iterations": "1"}.items():
            admin.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("ALTER ROLE CURRENT_USER SET wal_compression = off")


def others(users: Path) -> list[Path]:
    """The other test runs that use these servers and are still alive."""
    found = []
    for file in users.iterdir():
        if file.name.isdigit():
            if start_time(int(file.name)) == file.read_text():
                found.append(file)
            else:
                file.unlink(missing_ok=True)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The official image and a stand-in have in common: bash, java, and the jars in /opt/kafka/libs.
KAFKA_START = """
set -e
umask 077
printf '%s' "$PROPERTIES" > /tmp/server.properties
java -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --cluster-id "$CLUSTER" --config /tmp/server.properties \
  --add-scram "SCRAM-SHA-512=[name=admin,password=$ADMIN_PASSWORD]"
exec java -Xmx512m -cp '/opt/kafka/libs/*' kafka.Kafka /tmp/server.properties
"""


@contextmanager
def containers(scratch: Path) -> Iterator[dict[str, Any]]:
    """A container each, with the same authentication and rights as the local servers have."""
    from testcontainers.core.container import DockerContainer

    admin_password, superuser_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    with ExitStack() as stack:
        postgres = DockerContainer(image("POSTGRES", POSTGRES_IMAGE)).with_exposed_ports(5432)
        postgres.with_env("POSTGRES_PASSWORD", superuser_password)
        postgres.with_env(
            "POSTGRES_INITDB_ARGS", "--auth-host=scram-sha-256 --locale-provider=builtin --locale=C.UTF-8"
        )
        postgres.with_command(f"postgres -c max_connections=300 -c fsync=off -c timezone={ZONE}")
        stack.enter_context(postgres)
        host, port = postgres.get_container_host_ip(), int(postgres.get_exposed_port(5432))

        # A broker tells its clients where to come: so its port must be known before it starts.
        kafka_port = free_port()
        broker = DockerContainer(image("KAFKA", KAFKA_IMAGE)).with_bind_ports(kafka_port, kafka_port)
        broker.with_env("ADMIN_PASSWORD", admin_password).with_env("CLUSTER", "epicrisis-tests-00000A")
        broker.with_env(
            "PROPERTIES",
            kafka.properties(
                data="/tmp/kafka-data",
                port=kafka_port,
                controller_port=9093 if kafka_port != 9093 else 9094,
                admin_password=admin_password,
                controller_password=secrets.token_urlsafe(24),
                bind="0.0.0.0",
                host=host if host != "localhost" else "127.0.0.1",
            ),
        )
        broker.with_kwargs(entrypoint=["bash", "-c"]).with_command([KAFKA_START])
        stack.enter_context(broker)
        wait_until_it_listens(broker, kafka_port)
        found = {
            "state": scratch,
            "kafka_bootstrap": f"{host}:{kafka_port}",
            "kafka_admin_password": admin_password,
            "dsn": f"postgresql://postgres:{superuser_password}@{host}:{port}/postgres",
            "wrapping_key": secrets.token_urlsafe(32),
            "checkpoint_key": secrets.token_urlsafe(32),
        }
        wait_until_both_let_us_in(Settings(**found))
        yield found


def wait_until_it_listens(container: Any, port: int, seconds: float = 90) -> None:
    """Asks inside the container: outside, the engine's proxy takes connections before anybody listens behind it."""
    deadline = time.monotonic() + seconds
    while container.exec(["bash", "-c", f": < /dev/tcp/127.0.0.1/{port}"]).exit_code:
        assert time.monotonic() < deadline, "the Kafka container does not listen"
        time.sleep(0.2)


def wait_until_both_let_us_in(settings: Settings, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(settings.admin_dsn(), connect_timeout=5).close()
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the PostgreSQL container does not let us in"
            time.sleep(0.2)
    while not kafka.answers(settings.kafka("admin"), 5):
        assert time.monotonic() < deadline, "the Kafka container does not let us in"
        time.sleep(0.2)
