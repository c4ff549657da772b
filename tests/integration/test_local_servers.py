"""The local servers, in a state folder of their own: started, found, broken and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from epicrisis import local
from epicrisis.errors import SettingsError, Unreachable
from epicrisis.local import jars, kafka, postgres
from epicrisis.local.launch import start_time
from epicrisis.local.process import LOOPBACK, running
from epicrisis.local.state import State
from epicrisis.settings import Settings
from tests.infra import embedded

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A state folder that these tests may break, apart from the one that the other tests share."""
    settings = Settings(state=tmp_path_factory.mktemp("own") / "state", namespace="t_local")
    yield settings
    local.down(settings)


@pytest.fixture
def up(own: Settings) -> Settings:
    """Both servers running. Cheap where they already do."""
    local.up(own)
    return own


def pids(settings: Settings) -> dict[str, int | None]:
    return {part.name: part.pid for part in local.status(settings)}


def state(settings: Settings) -> State:
    return State(settings.state)


def kill(settings: Settings, *names: str) -> None:
    """End servers as a power cut would."""
    for name in names:
        record = running(state(settings), name)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while start_time(record.pid) == record.started:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def admin(settings: Settings, **changes: Any) -> Any:
    from kafka import KafkaAdminClient

    return KafkaAdminClient(
        **(settings.kafka("admin") | changes), request_timeout_ms=10_000, bootstrap_timeout_ms=5_000
    )


def select_one(settings: Settings) -> None:
    with psycopg.connect(settings.admin_dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_up_again_finds_the_running_servers(up: Settings) -> None:
    before = pids(up)
    local.up(up)
    assert pids(up) == before
    assert {part.state for part in local.status(up)} == {"running"}
    select_one(up)


def test_two_ups_at_once_start_one_pair(own: Settings) -> None:
    local.down(own)
    code = "import sys; from epicrisis import local; from epicrisis.settings import Settings; "
    code += "s = Settings.read(state=sys.argv[1]); local.up(s); print([p.pid for p in local.status(s)])"
    command = [sys.executable, "-c", code, str(own.state)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=120)[0] for process in both)
    assert first == second != ""
    select_one(own)  # and they outlived the processes that started them


def test_down_stops_both_and_may_be_repeated(up: Settings) -> None:
    local.down(up)
    local.down(up)
    assert {part.state for part in local.status(up)} == {"stopped"}
    with pytest.raises(Unreachable, match="epicrisis up"):
        local.endpoints(up)


def test_what_was_stored_outlives_a_power_cut(up: Settings) -> None:
    from kafka.admin import NewTopic

    with psycopg.connect(up.admin_dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (x int)")
    client = admin(up)
    if "kept" not in client.list_topics():
        client.create_topics([NewTopic("kept", 1, 1)])
    client.close()
    kill(up, kafka.NAME, postgres.NAME)
    local.up(up)
    with psycopg.connect(up.admin_dsn()) as connection:
        connection.execute("SELECT x FROM kept")
    client = admin(up)
    assert "kept" in client.list_topics()
    client.close()


def test_a_pid_that_now_belongs_to_another_process_is_not_taken_for_the_server(up: Settings) -> None:
    kill(up, postgres.NAME)
    file = state(up).run / "postgres.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "pid": os.getpid()}))  # alive, but started at another time
    assert pids(up)["postgres"] is None
    local.up(up)
    assert pids(up)["postgres"] not in (None, os.getpid())


def test_a_port_taken_by_somebody_else_is_left_to_them(up: Settings) -> None:
    local.down(up)
    taken = {name: state(up).port(name) for name in (kafka.NAME, kafka.CONTROLLER, postgres.NAME)}
    guests = [socket.create_server((LOOPBACK, port)) for port in taken.values() if port]
    try:
        local.up(up)
        now = {name: state(up).port(name) for name in taken}
        assert not set(now.values()) & set(taken.values())
        select_one(up)
        assert kafka.answers(up.kafka("admin"))
    finally:
        for guest in guests:
            guest.close()


def test_a_state_folder_left_half_made_is_made_again(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / "half", namespace="t_half")
    for server in ("kafka", "postgres"):
        (settings.state / server / "half-made" / "rubbish").mkdir(parents=True)
    (settings.state / "kafka" / "data").mkdir()  # without meta.properties: nothing was ever stored in it
    (settings.state / "run").mkdir()
    (settings.state / "run" / "kafka.json").write_text('{"pid": 1')
    try:
        local.up(settings)
        select_one(settings)
        assert kafka.answers(settings.kafka("admin"))
    finally:
        local.down(settings)


def test_a_parent_killed_while_starting_leaves_servers_that_the_next_up_finds(own: Settings) -> None:
    local.down(own)
    code = "import sys; from epicrisis import local; from epicrisis.settings import Settings; "
    code += "local.up(Settings.read(state=sys.argv[1]))"
    parent = subprocess.Popen([sys.executable, "-c", code, str(own.state)])
    deadline = time.monotonic() + 60
    while running(state(own), kafka.NAME) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    found = pids(own)["kafka"]
    local.up(own)
    assert pids(own)["kafka"] == found
    select_one(own)


def test_secrets_and_settings_with_passwords_are_for_their_owner_alone(up: Settings) -> None:
    for file in (up.state / "secrets.json", up.state / "kafka" / "server.properties"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = json.loads((up.state / "secrets.json").read_text()).values()
    for pid in pids(up).values():
        command_line = Path(f"/proc/{pid}/cmdline")
        if command_line.exists():
            assert not any(secret in command_line.read_text() for secret in secrets)


def test_postgresql_refuses_a_wrong_password(up: Settings) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(up.admin_dsn(), password="wrong")


def test_postgresql_is_18_with_checksums_and_writes_through(up: Settings) -> None:
    with psycopg.connect(up.admin_dsn()) as connection:
        assert connection.info.server_version // 10000 == 18
        for setting in ("fsync", "synchronous_commit", "data_checksums", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",), setting  # type: ignore[arg-type]


def test_kafka_refuses_a_wrong_password(up: Settings) -> None:
    assert kafka.answers(up.kafka("admin"))
    assert not kafka.answers(up.kafka("admin") | {"sasl_plain_password": "wrong"}, seconds=3)


def test_kafka_refuses_a_client_without_a_password(up: Settings) -> None:
    plain = {"bootstrap_servers": up.kafka("admin")["bootstrap_servers"]}
    assert not kafka.answers(plain, seconds=3)


def test_the_controller_refuses_a_client_without_a_password(up: Settings) -> None:
    port = state(up).port(kafka.CONTROLLER)
    assert port is not None
    assert not kafka.answers({"bootstrap_servers": f"{LOOPBACK}:{port}"}, seconds=3)


def test_kafka_makes_no_topic_by_itself(up: Settings) -> None:
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    producer = KafkaProducer(**up.kafka("admin"), max_block_ms=3_000)
    try:
        with pytest.raises(KafkaError):
            producer.send("never-made", b"x").get(timeout=10)
    finally:
        producer.close(timeout=5)
    client = admin(up)
    assert "never-made" not in client.list_topics()
    client.close()


def test_a_jar_that_is_not_the_committed_one_is_not_run(tmp_path: Path) -> None:
    forged = []
    for name in jars.committed():
        (tmp_path / name).write_bytes(b"forged")
        forged.append(tmp_path / name)
    with pytest.raises(SettingsError, match="SHA-256 differs"):
        jars.check(forged)
    with pytest.raises(SettingsError, match="lacks"):
        jars.check(forged[1:])


def test_the_roles_run_beside_the_servers_and_stop_in_every_namespace(up: Settings) -> None:
    from epicrisis.local import roles
    from epicrisis.provision import provision

    provision(up)
    first = roles.up(up)
    try:
        assert roles.up(up) == first
        assert {part.name: part.pid for part in roles.status(up)} == first
        (serve,) = [part for part in roles.status(up) if part.name == "serve"]
        assert serve.where == f"{LOOPBACK}:{roles.serve_port(up)}"
    finally:
        stopped = roles.down(Settings(state=up.state, namespace="t_other"))  # as `make clean` would
    assert stopped == [f"t_local-{role}" for role in roles.ROLES]
    assert {part.state for part in roles.status(up)} == {"stopped"}


def test_test_servers_that_do_not_start_leave_no_trace_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Settings) -> None:
        raise SettingsError("no Java")

    monkeypatch.setattr(local, "up", fail)
    with pytest.raises(SettingsError), embedded(tmp_path / "state"):
        pass
    assert [file for file in (tmp_path / "state" / "test-runs").iterdir() if file.name.isdigit()] == []
