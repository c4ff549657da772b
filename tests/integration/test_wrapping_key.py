"""With another wrapping key nobody would be recognised: an intake does not even start."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from epicrisis import assembly
from epicrisis.cli.doctor import databases
from epicrisis.errors import SettingsError
from epicrisis.provision import postgres
from epicrisis.settings import Settings
from tests.kernel_support import bundle, own_namespace, patient

pytestmark = pytest.mark.servers
WHAT = "EPICRISIS_WRAPPING_KEY is not the key"


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


def another(cluster: Settings) -> Settings:
    return cluster.model_copy(update={"wrapping_key": SecretStr(secrets.token_urlsafe(32))})


def close(intake: Any) -> None:
    for journal in intake._journals.values():
        journal._database.close()
    intake._inbox._database.close()
    intake._keys.close()


def test_an_intake_with_another_wrapping_key_does_not_start(cluster: Settings) -> None:
    with pytest.raises(SettingsError, match=WHAT):
        assembly.intake(another(cluster))
    intake = assembly.intake(cluster)
    raw = bundle(patient(number="1"))
    assert intake.receive(raw, operator="charite", clinic="charite/gyn", door="test").total == 1
    close(intake)


def test_provisioning_with_another_wrapping_key_is_refused(cluster: Settings) -> None:
    with pytest.raises(SettingsError, match=WHAT):
        postgres.provision(another(cluster))
    postgres.provision(cluster)


def test_where_provisioning_is_not_given_the_key_the_first_intake_settles_it(cluster: Settings) -> None:
    with psycopg.connect(cluster.admin_dsn(cluster.database("keys"))) as connection:
        connection.execute("DELETE FROM keys.wrapping_key")
    close(assembly.intake(cluster))
    with pytest.raises(SettingsError, match=WHAT):
        assembly.intake(another(cluster))


@pytest.mark.parametrize("attempt", ["DELETE FROM keys.wrapping_key", "UPDATE keys.wrapping_key SET fingerprint = ''"])
def test_an_intake_cannot_change_the_fingerprint(cluster: Settings, attempt: str) -> None:
    with (
        psycopg.connect(cluster.dsn_for("keys", "intake")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(attempt)


def test_an_intake_on_databases_of_an_earlier_release_says_what_to_do(cluster: Settings) -> None:
    with psycopg.connect(cluster.admin_dsn(cluster.database("keys"))) as connection:
        connection.execute("ALTER TABLE keys.wrapping_key RENAME TO elsewhere")
        connection.commit()
        try:
            with pytest.raises(SettingsError, match="run `epicrisis provision`"):
                assembly.intake(cluster)
        finally:
            connection.execute("ALTER TABLE keys.elsewhere RENAME TO wrapping_key")


def test_the_doctor_sees_another_wrapping_key(cluster: Settings) -> None:
    def found(settings: Settings) -> Any:
        (finding,) = [one for one in databases(settings) if one.part == "wrapping key"]
        return finding

    assert found(cluster).ok
    assert not found(another(cluster)).ok
    assert WHAT in found(another(cluster)).do
