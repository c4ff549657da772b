"""The commands that look, on a small installation: read, lag, parked, doctor."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner, Result

from epicrisis.assembly import codec, key_store
from epicrisis.cli.app import app
from epicrisis.fhir.gate import Gate
from epicrisis.found import projections
from epicrisis.local.state import write
from epicrisis.projecting.postgres import PostgresTransaction
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from tests.acceptance.test_readme import environment_of
from tests.kernel_support import Pipeline, bundle, condition, observation, own_namespace, patient

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers) as settings, Pipeline(settings) as pipeline:
        pipeline.send(bundle(patient(), condition(), observation()))
        pipeline.wait()
        yield settings


@pytest.fixture
def run(cluster: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    import epicrisis.cli.doctor
    import epicrisis.cli.reading
    import epicrisis.cli.replaying
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


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("deceased=no", 1),
        ("deceased=yes", 0),
        ("deceased_at=", 1),
        ("open_problems=", 0),
        ("open_problems=C50.4", 1),
        ("open_problems=C50", 0),
        ("events=0", 0),
        ("last_event_at=2999-01-01", 0),
    ],
)
def test_a_condition_is_written_as_the_table_shows_it(run: Callable[..., Result], where: str, count: int) -> None:
    assert len(rows_of(run("read", "clinic_patients", "--where", where, "--format", "csv"))) == count


def test_a_condition_that_does_not_fit_its_column_says_so(run: Callable[..., Result]) -> None:
    refused = run("read", "clinic_patients", "--where", "family=Meier", "--where", "events=many")
    assert str(refused.exception).startswith("a value does not fit its column (family, events)")
    assert refused.exit_code == 1


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
    assert {row["name"] for row in found} > {"registration", "chart", "ledger", "clinic_patients_v2"}
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


@pytest.fixture
def aside(cluster: Settings) -> Iterator[Callable[[bytes, bytes], tuple[str, ...]]]:
    """Sets a record aside, as a worker of a release that could not read it would have; the options that name it."""

    def put(key: bytes, value: bytes) -> tuple[str, ...]:
        partition = partition_of(slice_of(UUID(bytes=key)), cluster.partitions)
        with psycopg.connect(cluster.dsn_for("cluster", "worker")) as connection, connection.cursor() as cur:
            PostgresTransaction(cur).set_aside(cluster.topic(), partition, 0, "unknown_schema", key, value)
        return "--partition", str(partition), "--offset", "0"

    yield put
    with psycopg.connect(cluster.dsn_for("cluster", "worker")) as connection:
        connection.execute("DELETE FROM projection.poison")


def archived(cluster: Settings) -> tuple[UUID, bytes]:
    """The newest chart event of the patient, as it is in the ledger."""
    query = "SELECT subject, value FROM ledger.event WHERE source = 'chart' ORDER BY n DESC LIMIT 1"
    with psycopg.connect(cluster.dsn_for("cluster", "auditor")) as connection:
        found = connection.execute(query).fetchone()
    assert found is not None
    return found[0], bytes(found[1])


def test_a_record_set_aside_that_can_be_read_now_is_applied_and_gone(
    cluster: Settings, run: Callable[..., Result], aside: Callable[[bytes, bytes], tuple[str, ...]]
) -> None:
    subject, value = archived(cluster)
    opened = codec().open(value)
    assert opened.meta.key is not None
    key = key_store(cluster, "worker").by_ids({opened.meta.key})[opened.meta.key]
    following = msgspec.structs.replace(opened.meta, id=uuid4(), seq=opened.meta.seq + 1)
    place = aside(subject.bytes, codec().encode(following, codec().unseal(opened, key), key))
    (shown,) = json.loads(run("parked", "show", *place, "--format", "json").stdout)
    assert (shown["key"], shown["reason"]) == (str(subject), "unknown_schema")
    assert shown["now"] == f"readable: {opened.meta.type}"
    assert {row["outcome"] for row in rows_of(run("parked", "retry", *place, "--format", "csv"))} == {"applied"}
    assert archived(cluster)[1] != value
    assert "no record was set aside" in str(run("parked", "retry", *place).exception)


def test_a_record_set_aside_whose_event_is_known_already_changes_nothing(
    cluster: Settings, run: Callable[..., Result], aside: Callable[[bytes, bytes], tuple[str, ...]]
) -> None:
    subject, value = archived(cluster)
    place = aside(subject.bytes, value)
    assert {row["outcome"] for row in rows_of(run("parked", "retry", *place, "--format", "csv"))} == {"known already"}
    assert archived(cluster) == (subject, value)


def test_a_record_that_still_cannot_be_read_stays_set_aside(
    cluster: Settings, run: Callable[..., Result], aside: Callable[[bytes, bytes], tuple[str, ...]]
) -> None:
    subject, _ = archived(cluster)
    place = aside(subject.bytes, b"Meier 1971-03-04")
    refused = run("parked", "retry", *place)
    assert "still cannot be read (not_framed)" in str(refused.exception)
    shown = run("parked", "show", *place)
    assert "not_framed" in shown.stdout
    assert "Meier" not in shown.output + str(refused.exception)


def test_a_history_in_every_format(run: Callable[..., Result], cluster: Settings) -> None:
    subject = rows_of(run("read", "clinic_patients", "--format", "csv"))[0]["subject"]
    lines = rows_of(run("replay", subject, "--format", "csv"))
    assert {line["event"] for line in lines} == {
        "registration.PatientRegistered",
        "diagnosis.DiagnosisRecorded",
        "chart.ResourceRecorded",
    }
    assert [one["event"] for one in json.loads(run("replay", subject, "--format", "json").stdout)] == [
        line["event"] for line in lines
    ]
    ndjson = run("replay", subject, "--format", "ndjson").stdout.splitlines()
    numbers = [json.loads(line)["n"] for line in ndjson]
    assert len(numbers) == len(lines)
    assert numbers == sorted(set(numbers)), "accesses have numbers, too, and are not shown"
    shown = run("replay", f"Patient/{subject}", "--known-at", "2999-01-01").stdout
    assert "true by" not in shown
    assert "known at 2999-01-01T00:00:00+00:00" in shown
    assert "Meier" in shown
    assert len(rows_of(run("replay", subject, "--known-at", "2020-01-01", "--format", "csv"))) == 0


def test_a_history_as_a_bundle_passes_the_gate(run: Callable[..., Result]) -> None:
    subject = rows_of(run("read", "clinic_patients", "--format", "csv"))[0]["subject"]
    bundle = run("replay", subject, "--format", "fhir").stdout
    count = len(rows_of(run("replay", subject, "--format", "csv")))  # another test adds an Observation's version
    assert len(Gate().check(bundle.encode()).entries) == 2 * count
    read = json.loads(bundle)
    assert (read["type"], read["total"]) == ("history", 2 * count)
    urls = [entry["request"]["url"] for entry in read["entry"]]
    kinds = [url.partition("/")[0] for url in urls]
    assert sorted(kinds[:count]) == ["Condition"] + ["Observation"] * (count - 2) + ["Patient"]
    assert kinds[count:] == ["Provenance"] * count
    assert [entry["response"]["status"] for entry in read["entry"][-3:]] == ["201"] * 3
    origin = read["entry"][-1]["resource"]
    assert origin["id"] == f"{subject}.1"
    assert origin["target"] == [{"reference": f"{urls[count - 1]}/_history/1"}]
    between = run("replay", subject, "--diff", "2020-01-01", "2020-01-02", "--format", "fhir").stdout
    assert json.loads(between) == {"resourceType": "Bundle", "type": "history", "total": 0}
    assert json.loads(run("replay", subject, "--diff", "2020-01-01", "2999-01-01", "--format", "fhir").stdout) == read
    refused = run("replay", subject, "--format", "fhir", "--through", "cluster_chart")
    assert refused.exit_code == 2


@pytest.mark.parametrize("projection", sorted(projections().keys() - {"cluster_access"}))  # that grows as one asks
def test_a_history_through_a_read_model_is_one_list_for_programs(run: Callable[..., Result], projection: str) -> None:
    """Also of a read model that has several tables: each row names its own."""
    subject = rows_of(run("read", "clinic_patients", "--format", "csv"))[0]["subject"]
    words = ("replay", subject, "--through", projection, "--format")
    listed = json.loads(run(*words, "json").stdout)
    assert {row["table"] for row in listed} <= {t.name for t in projections()[projection].tables.values()}
    assert [json.loads(line) for line in run(*words, "ndjson").stdout.splitlines()] == listed
    assert [row["table"] for row in rows_of(run(*words, "csv"))] == [row["table"] for row in listed]
    if projection == "clinic_patients":
        assert [row["table"] for row in listed] == ["clinic_patients", "clinic_patients_person"]
    earlier = (*words[:-1], "--known-at", "2020-01-01", "--format")
    assert json.loads(run(*earlier, "json").stdout) == []
    assert rows_of(run(*earlier, "csv")) == []


def test_what_an_operator_had_seen(run: Callable[..., Result]) -> None:
    subject = rows_of(run("read", "clinic_patients", "--format", "csv"))[0]["subject"]
    own = rows_of(run("replay", subject, "--seen-by", "charite", "--format", "csv"))
    assert [line["n"] for line in own][:3] == ["1", "2", "3"]
    assert all(line["seen"] == line["recorded"] for line in own)
    assert rows_of(run("replay", subject, "--seen-by", "charite", "--known-at", "2020-01-01", "--format", "csv")) == []
    refused = run("replay", subject, "--seen-by", "nobody")
    assert "there is no operator nobody" in str(refused.exception)
    whole, seen = (
        run("replay", subject, "--through", "cluster_chart", *more, "--format", "json").stdout
        for more in ((), ("--seen-by", "charite"))
    )
    assert whole == seen
