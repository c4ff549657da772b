"""Every role as a process that has what deploy/compose.yaml hands it: that is enough, and it asks for all of it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hl7.client import MLLPClient
from kafka import KafkaProducer
from psycopg.conninfo import conninfo_to_dict

from epicrisis.found import services
from epicrisis.local.state import write
from epicrisis.provision.grants import LOGINS
from epicrisis.provision.kafka import USERS
from epicrisis.settings import Settings
from tests.acceptance.support import rows, wait_until
from tests.contract.test_deploy import ROLES, SERVICES, script
from tests.hl7v2 import message
from tests.infra import CHECKOUT, free_port
from tests.kernel_support import own_namespace, patient

MANIFEST = """\
title = "St Jude"
country = "AT"
clinics = ["main"]
[[mllp]]
clinic = "main"
facility = "STJUDE"
[inbox]
clinic = "main"
"""
WATCHED = """
import sys
from pathlib import Path
from epicrisis.cli import main
from epicrisis.settings import Settings

asked, look_up = Path(sys.argv.pop(1)), Settings.secret

def secret(self, name, **how):
    with asked.open("a") as file:
        file.write(f"{name}\\n")
    return look_up(self, name, **how)

Settings.secret = secret
main()
"""
"""`epicrisis`, and a file with the names of the secrets that it has asked for."""


def hand_out(settings: Settings, folder: Path) -> dict[str, set[str]]:
    """What the compose file does after provisioning; the names of the passwords by role."""
    names = [f"role.{name}" for name in (*services(), *LOGINS)] + [f"kafka.{user}" for user in USERS]
    (folder / "epicrisis").mkdir()
    write(folder / "epicrisis" / "secrets.json", {f"{settings.namespace}/{n}": settings.secret(n) for n in names})
    for role in ROLES:
        (folder / "epicrisis-roles" / role).mkdir(parents=True)
    program = script("hand-out").replace("/var/lib/", f"{folder}/")
    subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    return {role: {name.partition("/")[2] for name in json.loads(secrets(folder, role).read_text())} for role in ROLES}


def secrets(folder: Path, role: str) -> Path:
    return folder / "epicrisis-roles" / role / "secrets.json"


@contextmanager
def deployed(settings: Settings, folder: Path, ports: dict[str, int]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """All roles, each with its own folder, the servers' addresses and the keys that the compose file names for it."""
    server, bootstrap = conninfo_to_dict(settings.admin_dsn()), settings.kafka("admin")["bootstrap_servers"]
    shared = {name: value for name, value in os.environ.items() if not name.startswith("EPICRISIS_")} | {
        "EPICRISIS_NAMESPACE": settings.namespace,
        "EPICRISIS_DSN": f"postgresql://{server['host']}:{server['port']}/postgres",
        "EPICRISIS_KAFKA_BOOTSTRAP": bootstrap if isinstance(bootstrap, str) else ",".join(bootstrap),
        "EPICRISIS_OPERATORS": str(settings.operators_folder),
    }
    keys = {
        "EPICRISIS_WRAPPING_KEY": base64.b64encode(settings.wrapping_key_bytes()).decode(),
        "EPICRISIS_CHECKPOINT_KEY": base64.b64encode(bytes(32)).decode(),
    }
    started = {}
    try:
        for role in ROLES:
            own = {name: value for name, value in keys.items() if name in SERVICES[role]}
            own["EPICRISIS_STATE"] = str(secrets(folder, role).parent)
            if role in ports:
                own[f"EPICRISIS_{role.upper()}_PORT"] = str(ports[role])
            words = [sys.executable, "-c", WATCHED, str(folder / f"{role}.asked"), role]
            started[role] = subprocess.Popen(words, env=shared | own, cwd=CHECKOUT, stderr=subprocess.DEVNULL)
        yield started
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def answers(port: int, path: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def taken(port: int, raw: bytes) -> bytes:
    with suppress(OSError), MLLPClient("127.0.0.1", port) as client:
        return bytes(client.send_message(raw))
    return b""


def put(settings: Settings, raw: bytes) -> None:
    """Put a message into the operator's Kafka inbox."""
    producer = KafkaProducer(**settings.kafka("operator-stjude"))
    try:
        producer.send(settings.inbox("stjude"), key=b"k", value=raw).get(20)
    finally:
        producer.close()


@pytest.mark.servers
def test_every_role_works_with_what_it_is_handed_and_asks_for_all_of_it(
    servers: dict[str, Any], tmp_path: Path
) -> None:
    operators = tmp_path / "operators"
    (operators / "stjude").mkdir(parents=True)
    (operators / "stjude" / "manifest.toml").write_text(MANIFEST, encoding="utf-8")
    with own_namespace(servers | {"operators": operators}) as settings:
        handed = hand_out(settings, tmp_path)
        ports = {"serve": free_port(), "mllp": free_port()}

        def asked() -> dict[str, set[str]]:
            files = {role: tmp_path / f"{role}.asked" for role in ROLES}
            return {role: set(file.read_text().split()) if file.exists() else set() for role, file in files.items()}

        def known(table: str) -> int:
            return len(rows(settings, "cluster", f"SELECT FROM {table}"))

        with deployed(settings, tmp_path, ports) as started:
            wait_until(lambda: b"MSA|AA|1" in taken(ports["mllp"], message()), "a message is taken")
            put(settings, json.dumps(patient()).encode())
            wait_until(lambda: known("read.clinic_patients") == 2, "both patients are readable")
            wait_until(lambda: known("proof.head"), "a checkpoint is made")
            wait_until(lambda: answers(ports["serve"], "/health/ready"), "serve has let itself in everywhere")
            assert asked() == handed
            assert [role for role, process in started.items() if process.poll() is not None] == []
