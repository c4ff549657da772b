"""Servers that may be broken: three Kafka nodes and a PostgreSQL of their own, each also behind a proxy."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from epicrisis.local import kafka, postgres
from epicrisis.local.process import LOOPBACK, choose_port, running, wait_gone
from epicrisis.local.state import State
from epicrisis.provision import drop, provision
from epicrisis.settings import Settings, changed
from tests.faults.processes.proxy import Proxy

PARTITIONS = 8
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class Servers:
    """`nodes` Kafka brokers and a PostgreSQL in a folder of their own.

    Each broker has a second listener that is advertised as its proxy's address: a client that begins at a proxy stays
    behind the proxies, one that begins at a broker never sees them.
    """

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        self.state = State(folder)
        self.state.make()
        self.nodes = range(1, nodes + 1)
        self._wrapping_key = secrets.token_urlsafe(32)
        self._far = {node: choose_port(self.state, f"far-{node}") for node in self.nodes}
        self.brokers = {node: Proxy(port) for node, port in self._far.items()}
        with ThreadPoolExecutor(2) as pool:
            starting = [pool.submit(self.start_kafka), pool.submit(postgres.up, self.state)]
            try:
                self._port = starting[1].result().port
                starting[0].result()
            except BaseException:
                self.close()
                raise
        self.database = Proxy(self._port)

    @property
    def proxies(self) -> list[Proxy]:
        return [*self.brokers.values(), self.database]

    # Kafka

    def start_kafka(self) -> None:
        """Start the nodes that are down, and wait until they let us in."""
        kafka.up(self.state, [self._listeners(node) for node in self.nodes])

    def _listeners(self, node: int) -> dict[str, str]:
        near, controller = (
            choose_port(self.state, kafka.name(node, of))
            if running(self.state, kafka.name(node)) is None
            else self.state.port(kafka.name(node, of))
            for of in (kafka.NAME, kafka.CONTROLLER)
        )
        return {
            "listeners": f"CLIENT://{LOOPBACK}:{near},FAR://{LOOPBACK}:{self._far[node]},"
            f"CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"CLIENT://{LOOPBACK}:{near},FAR://{LOOPBACK}:{self.brokers[node].port}",
            "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,FAR:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "listener.name.far.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.far.scram-sha-512.sasl.jaas.config": SCRAM,
            "group.min.session.timeout.ms": "1000",
        }

    def kill_kafka(self, node: int) -> bool:
        """kill -9; False where it was down."""
        return self._kill(kafka.name(node))

    def alive(self, node: int) -> bool:
        return running(self.state, kafka.name(node)) is not None

    # PostgreSQL

    def kill_postgres(self) -> bool:
        """kill -9 of the server process: its other processes end as soon as they notice."""
        return self._kill(postgres.NAME)

    def start_postgres(self) -> None:
        postgres.up(self.state)

    def _kill(self, name: str) -> bool:
        record = running(self.state, name)
        if record is None:
            return False
        os.kill(record.pid, signal.SIGKILL)
        wait_gone(record, 30)
        return True

    # Settings

    def settings(self, namespace: str, *, far: bool) -> Settings:
        """An installation on these servers; `far`: behind the proxies."""
        password = self.state.secret(postgres.SECRET, create=False)
        ports = [self.brokers[n].port if far else self.state.port(kafka.name(n)) for n in self.nodes]
        dsn = f"postgresql://{postgres.SUPERUSER}:{password}@{LOOPBACK}:{self._port}/postgres"
        return Settings(
            state=self.state.folder,
            namespace=namespace,
            partitions=PARTITIONS,
            kafka_bootstrap=",".join(f"{LOOPBACK}:{port}" for port in ports),
            kafka_admin_password=self.state.secret(kafka.SECRET, create=False),
            kafka_replication=len(self.nodes),
            dsn=changed(dsn, port=str(self.database.port)) if far else dsn,
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

    def close(self) -> None:
        """Stop everything. Nothing that was stored is wanted any more."""
        for node in self.nodes:
            self.kill_kafka(node)
        postgres.down(self.state)
        for proxy in [*self.brokers.values(), *([self.database] if hasattr(self, "database") else [])]:
            proxy.close()
