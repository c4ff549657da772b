"""Servers that may be broken: Kafka brokers and a PostgreSQL of their own, each also behind a proxy."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from epicrisis.local import kafka, postgres
from epicrisis.local.process import LOOPBACK, is_free, running, wait_gone
from epicrisis.local.state import State
from epicrisis.provision import drop, provision
from epicrisis.settings import Settings, changed
from tests.faults.processes.proxy import Proxy

PARTITIONS = 8
JAVA = "-XX:TieredStopAtLevel=1"
"""A broker that is killed soon is not worth optimising for."""
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def kill(state: State, name: str) -> None:
    """kill -9, and wait until it is gone."""
    record = running(state, name)
    if record is not None:
        os.kill(record.pid, signal.SIGKILL)
        wait_gone(record, 30)


def reserved_port() -> int:
    """A free port that no outgoing connection gets: so that it is still free when a killed broker comes back."""
    while not is_free(port := 20_000 + secrets.randbelow(12_000)):
        pass
    return port


class Brokers:
    """Kafka nodes in a folder of their own.

    Each has a second listener that is advertised as its proxy's address: a client that begins at a proxy stays behind
    the proxies, one that begins at a broker never sees them.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self._state = State(folder)
        self._state.make()
        self.nodes = range(1, nodes + 1)
        for node in self.nodes:
            for name in (kafka.name(node), kafka.name(node, kafka.CONTROLLER), f"far-{node}"):
                self._state.remember_port(name, reserved_port())
        self._far = {node: self._state.port(f"far-{node}") or 0 for node in self.nodes}
        self.proxies = {node: Proxy(port) for node, port in self._far.items()}
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the nodes that are down, and wait until they let us in."""
        kafka.up(self._state, [self._listeners(node) for node in self.nodes])

    def _listeners(self, node: int) -> dict[str, str]:
        near, controller = (self._state.port(kafka.name(node, of)) for of in (kafka.NAME, kafka.CONTROLLER))
        return {
            "listeners": f"CLIENT://{LOOPBACK}:{near},FAR://{LOOPBACK}:{self._far[node]},"
            f"CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"CLIENT://{LOOPBACK}:{near},FAR://{LOOPBACK}:{self.proxies[node].port}",
            "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,FAR:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "listener.name.far.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.far.scram-sha-512.sasl.jaas.config": SCRAM,
            "group.min.session.timeout.ms": "1000",
        }

    def kill(self, node: int) -> None:
        """kill -9."""
        kill(self._state, kafka.name(node))

    def alive(self, node: int) -> bool:
        return running(self._state, kafka.name(node)) is not None

    @property
    def whole(self) -> bool:
        """Whether every one is alive."""
        return all(map(self.alive, self.nodes))

    def bootstrap(self, *, far: bool) -> str:
        """Where a client begins."""
        ports = [self.proxies[n].port if far else self._state.port(kafka.name(n)) for n in self.nodes]
        return ",".join(f"{LOOPBACK}:{port}" for port in ports)

    @property
    def admin_password(self) -> str | None:
        return self._state.secret(kafka.SECRET, create=False)

    def close(self) -> None:
        """Stop them. Nothing that was stored is wanted any more."""
        for node in self.nodes:
            self.kill(node)
        for proxy in self.proxies.values():
            proxy.close()


class Database:
    """A PostgreSQL in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder)
        self.state.make()
        self._port = postgres.up(self.state).port
        self.proxy = Proxy(self._port)

    def start(self) -> None:
        """Start it where it is down, and wait until it lets us in."""
        postgres.up(self.state)

    def kill(self) -> None:
        """kill -9 of the server process: its other processes end as soon as they notice."""
        kill(self.state, postgres.NAME)

    def answers(self) -> bool:
        """Whether it lets the superuser in."""
        try:
            psycopg.connect(self.dsn(far=False), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def dsn(self, *, far: bool) -> str:
        """The superuser's connection."""
        password = self.state.secret(postgres.SECRET, create=False)
        dsn = f"postgresql://{postgres.SUPERUSER}:{password}@{LOOPBACK}:{self._port}/postgres"
        return changed(dsn, port=str(self.proxy.port), keepalives_idle="2") if far else dsn

    def close(self) -> None:
        postgres.down(self.state)
        self.proxy.close()


class Servers:
    """Both."""

    def __init__(self, brokers: Brokers, database: Database) -> None:
        self.brokers, self.database = brokers, database
        self._wrapping_key = secrets.token_urlsafe(32)

    @property
    def proxies(self) -> list[Proxy]:
        return [*self.brokers.proxies.values(), self.database.proxy]

    def settings(self, namespace: str, *, far: bool) -> Settings:
        """An installation on these servers; `far`: behind the proxies."""
        return Settings(
            state=self.database.state.folder,
            namespace=namespace,
            partitions=PARTITIONS,
            kafka_bootstrap=self.brokers.bootstrap(far=far),
            kafka_admin_password=self.brokers.admin_password,
            kafka_replication=len(self.brokers.nodes),
            dsn=self.database.dsn(far=far),
            wrapping_key=self._wrapping_key,
        )

    @contextmanager
    def installation(self) -> Iterator[tuple[Settings, Settings]]:
        """A provisioned installation, dropped at the end: near, and behind the proxies."""
        namespace = f"f_{secrets.token_hex(4)}"
        near = self.settings(namespace, far=False)
        provision(near)
        yield near, self.settings(namespace, far=True)
        drop(near)


@contextmanager
def servers(folder: Path, nodes: int = 3) -> Iterator[Servers]:
    """Both kinds, stopped at the end."""
    os.environ["JDK_JAVA_OPTIONS"] = JAVA
    try:
        with closing(Database(folder / "postgres")) as database, closing(Brokers(folder / "kafka", nodes)) as brokers:
            yield Servers(brokers, database)
    finally:
        del os.environ["JDK_JAVA_OPTIONS"]


@contextmanager
def scratch_folder(*, keep: bool = False) -> Iterator[Path]:
    """A folder in memory, where there is one: a killed process loses nothing there, and nothing waits for a disk.

    Removed at the end; with ``keep`` not after an error.
    """
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="epicrisis-faults-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    except BaseException:
        if not keep:
            shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
