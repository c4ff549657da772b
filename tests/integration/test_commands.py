"""The commands that look, on a small installation: read, lag, parked, doctor."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner, Result

from epicrisis.cli.app import app
from epicrisis.local.state import write
from epicrisis.settings import Settings
from tests.acceptance.test_readme import environment_of
from tests.kernel_support import Pipeline, bundle, condition, own_namespace, patient

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers) as settings, Pipeline(settings) as pipeline:
        pipeline.send(bundle(patient(), condition()))
        pipeline.wait()
        yield settings


@pytest.fixture
def run(cluster: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    import epicrisis.cli.doctor
    import epicrisis.cli.reading
    import epicrisis.cli.servers  # noqa: F401

    for name, value in environment_of(cluster).items():
        monkeypatch.setenv(name, value)
    return lambda *words: CliRunner().invoke(app, list(words))


def rows_of(result: Result) -> list[dict[str, str]]:
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_read_shows_the_columns_that_were_asked_for(run: Callable[..., Result]) -> None:
    found = rows_of(run("read", "clinic_patients", "--columns", "family,clinic_id", "--format", "csv"))
    assert found == [{"family": "Meier", "clinic_id": "charite/gyn"}]


def test_read_names_the_columns_where_one_does_not_exist(run: Callable[..., Result]) -> None:
    refused = run("read", "clinic_patients", "--columns", "famly")
    assert "has no column famly; there are: clinic_id" in str(refused.exception)


def test_a_read_models_second_table_can_be_read_for_one_clinic(run: Callable[..., Result]) -> None:
    for clinic, count in (("charite/gyn", 1), ("charite/eye", 0)):
        found = rows_of(run("read", "clinic_patients_person", "--clinic", clinic, "--format", "csv"))
        assert len(found) == count


def test_a_counter_can_be_read_for_one_clinic(run: Callable[..., Result]) -> None:
    found = rows_of(run("read", "cluster_activity", "--clinic", "charite/gyn", "--format", "csv"))
    assert {row["clinic"] for row in found} == {"charite/gyn"}


def test_what_is_not_kept_per_clinic_says_so(run: Callable[..., Result]) -> None:
    refused = run("read", "cluster_oncology_pathway", "--clinic", "charite/gyn")
    assert str(refused.exception) == "cluster_oncology_pathway is not kept per clinic: leave --clinic out"


def test_lag_has_a_row_per_service_and_per_consumer(run: Callable[..., Result]) -> None:
    found = json.loads(run("lag", "--wait", "30", "--format", "json").stdout)
    assert {row["name"] for row in found} > {"registration", "chart", "ledger", "clinic_patients_v1"}
    assert {row["behind"] for row in found} == {0}


def test_the_doctor_examines_what_a_role_uses_with_the_roles_own_connection(
    cluster: Settings, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container: the servers are named without a user, and the state folder has this role's passwords only."""
    server = conninfo_to_dict(cluster.admin_dsn())
    bootstrap = cluster.kafka("admin")["bootstrap_servers"]
    monkeypatch.setenv("EPICRISIS_STATE", str(tmp_path))
    monkeypatch.setenv("EPICRISIS_DSN", f"postgresql://{server['host']}:{server['port']}/postgres")
    monkeypatch.setenv("EPICRISIS_KAFKA_BOOTSTRAP", bootstrap if isinstance(bootstrap, str) else ",".join(bootstrap))
    monkeypatch.delenv("EPICRISIS_KAFKA_ADMIN_PASSWORD", raising=False)
    monkeypatch.setenv("EPICRISIS_SERVE_PORT", "8080")
    nothing = {row["part"]: row for row in json.loads(run("doctor", "--format", "json").stdout)}
    assert nothing["settings, state"]["ok"]
    assert "no password here" in nothing["postgres"]["do"]
    own = {f"{cluster.namespace}/{name}": cluster.secret(name) for name in ("role.worker", "kafka.worker")}
    write(tmp_path / "secrets.json", own)
    done = run("doctor", "--format", "json")
    found = {row["part"]: row for row in json.loads(done.stdout)}
    assert done.exit_code == 0, done.output
    assert found["database registration"]["ok"]
    assert found["database cluster"]["ok"]
    assert "database intake" not in found
    assert found["topic"]["version"] == f"{cluster.partitions} partitions"
