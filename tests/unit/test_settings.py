from __future__ import annotations

import base64
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from epicrisis.errors import SettingsError, Unreachable
from epicrisis.settings import Settings

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state", namespace="t_ab12")


def test_every_name_starts_with_the_namespace(local: Settings) -> None:
    assert local.database("cluster") == "t_ab12_cluster"
    assert local.role("relay") == "t_ab12_relay"
    assert local.topic() == "t_ab12.events.g1"
    assert local.group("worker") == "t_ab12.worker"
    assert local.kafka_name("relay") == "t_ab12-relay"
    assert local.kafka_name("admin") == "admin"


@pytest.mark.parametrize("wrong", ["", "9a", "a-b", "A", "a" * 32, 'a"; drop'])
def test_a_namespace_that_is_not_a_plain_word_is_refused_without_repeating_it(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EPICRISIS_NAMESPACE") as refused:
        Settings.read(state=tmp_path, namespace=wrong)
    assert len(wrong) < 4 or wrong not in str(refused.value)


def test_partitions_divide_the_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICRISIS_PARTITIONS", "12")
    with pytest.raises(SettingsError, match=r"EPICRISIS_PARTITIONS.*must divide 1024"):
        Settings.read()


def test_settings_cannot_be_changed(local: Settings) -> None:
    with pytest.raises(ValueError, match="frozen"):
        local.namespace = "other"  # type: ignore[misc]


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(local: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: local.secret("role.relay"), range(16)))
    assert len(found) == 1
    file = local.state / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"t_ab12/role.relay": found.pop()}


def test_each_namespace_has_its_own_secrets_and_forgets_only_those(local: Settings) -> None:
    other = Settings(state=local.state, namespace="t_cd34")
    assert local.secret("role.relay") != other.secret("role.relay")
    kept = other.secret("role.relay")
    local.forget_secrets()
    assert json.loads((local.state / "secrets.json").read_text()) == {"t_cd34/role.relay": kept}


def test_no_secret_is_invented_for_servers_elsewhere(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, dsn="host=db.example user=boss", kafka_bootstrap="broker.example:9092")
    with pytest.raises(SettingsError, match=r"role\.relay"):
        settings.secret("role.relay")
    assert settings.secret("role.relay", create=True) == settings.secret("role.relay")


def test_no_secret_shows_in_a_representation(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, dsn="postgresql://u:hunter2@h/d", wrapping_key=KEY, kafka_password="hunter3")
    assert "hunter" not in repr(settings)
    assert KEY not in repr(settings)


def test_a_roles_own_connection_from_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EPICRISIS_DSN_REGISTRATION", "host=reg.example user=me")
    settings = Settings.read(state=tmp_path)
    assert not settings.local_postgres
    assert settings.dsn_for("registration", "service") == "host=reg.example user=me"
    with pytest.raises(SettingsError, match="EPICRISIS_DSN_CLUSTER"):
        settings.dsn_for("cluster", "worker")


def test_a_role_on_a_server_elsewhere_keeps_the_servers_tls_options(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, dsn="host=db.example user=boss password=x sslmode=verify-full")
    settings.secret("role.worker", create=True)
    dsn = settings.dsn_for("cluster", "worker")
    assert "sslmode=verify-full" in dsn
    assert "user=epicrisis_worker" in dsn
    assert "dbname=epicrisis_cluster" in dsn
    assert "boss" not in dsn


def test_without_servers_a_role_waits_and_a_person_is_told_which_to_start(local: Settings) -> None:
    for ask in (lambda: local.dsn_for("cluster", "worker"), local.admin_dsn, lambda: local.kafka("relay")):
        with pytest.raises(Unreachable, match=f"{local.state} .*epicrisis up"):
            ask()


def test_only_the_provisioning_step_makes_a_password(local: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is there before it is told so, instead of being refused by the servers for a minute."""
    monkeypatch.setattr("epicrisis.local.servers.postgres_port", lambda _: 5432)
    monkeypatch.setattr("epicrisis.local.servers.kafka_port", lambda _: 9092)
    for ask in (lambda: local.dsn_for("cluster", "worker"), lambda: local.kafka("operator-charite")):
        with pytest.raises(SettingsError, match="epicrisis provision"):
            ask()
    assert not (local.state / "secrets.json").exists()


def test_a_wrapping_key_is_32_bytes_in_either_base64(tmp_path: Path) -> None:
    for text in (KEY, KEY.rstrip("="), KEY.replace("+", "-").replace("/", "_")):
        assert Settings(state=tmp_path, wrapping_key=text).wrapping_key_bytes() == bytes(range(32))
    for wrong in ("short", KEY[4:], "%" * 44, "ä" * 43):
        with pytest.raises(SettingsError, match="32 bytes"):
            Settings(state=tmp_path, wrapping_key=wrong).wrapping_key_bytes()


def test_a_local_wrapping_key_is_generated_and_kept(local: Settings) -> None:
    assert len(local.wrapping_key_bytes()) == 32
    assert local.wrapping_key_bytes() == Settings(state=local.state, namespace="t_ab12").wrapping_key_bytes()


def test_servers_elsewhere_need_a_wrapping_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EPICRISIS_WRAPPING_KEY"):
        Settings(state=tmp_path, dsn="host=h").wrapping_key_bytes()


def test_a_processs_own_kafka_user_wins(tmp_path: Path) -> None:
    settings = Settings(
        state=tmp_path,
        kafka_bootstrap="a:1,b:2",
        kafka_security="SASL_SSL",
        kafka_user="me",
        kafka_password="x",
        kafka_ca=Path("/ca.pem"),
    )
    assert settings.kafka("relay") == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "ssl_cafile": "/ca.pem",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "x",
    }


def test_a_damaged_secrets_file_is_named(local: Settings) -> None:
    local.state.mkdir()
    (local.state / "secrets.json").write_text("{")
    with pytest.raises(SettingsError, match=r"secrets\.json is damaged"):
        local.secret("x")
