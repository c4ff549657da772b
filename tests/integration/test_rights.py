"""Rights: every role may do what its work needs and nothing else; no clinical word ends up where others look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from psycopg import sql

from epicrisis import parked
from epicrisis.database import Database
from epicrisis.errors import Refused
from epicrisis.found import projections, services
from epicrisis.local.kafka import answers
from epicrisis.projection import Scope
from epicrisis.provision.grants import LOGINS
from epicrisis.provision.postgres import databases, logins_of
from epicrisis.readmodel import read
from epicrisis.settings import Settings
from tests.infra import ZONE
from tests.kernel_support import Pipeline, bundle, condition, observation, own_namespace, patient

pytestmark = pytest.mark.servers
HERE, THERE = "charite/gyn", "amc/onc"
OWN = "hospices/lab"
NAME, BORN, CODE = "Wolkenstein", "1971-03-04", "C50.4"


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers) as settings:
        yield settings


@pytest.fixture(scope="module")
def filled(cluster: Settings) -> Settings:
    """A patient in each of two clinics."""
    with Pipeline(cluster) as running:
        running.send(bundle(patient(family="Hier"), condition(), observation()), clinic=HERE)
        running.send(bundle(patient(family="Dort"), condition(), observation()), clinic=THERE)
        running.wait()
    return cluster


def tables(cluster: Settings, database: str) -> list[str]:
    query = (
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    with psycopg.connect(cluster.admin_dsn(cluster.database(database))) as connection:
        return [name for (name,) in connection.execute(query)]


def rights(cluster: Settings, database: str) -> dict[tuple[str, str], set[str]]:
    """What each role may do to each table, or to any column of it: only where there is anything."""
    query = """
        SELECT role, t::text, r FROM unnest(%s::text[]) AS role, unnest(%s::text[]) AS t,
            unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS r
        WHERE has_table_privilege(role, t, r)
            OR CASE WHEN r IN ('SELECT', 'INSERT', 'UPDATE') THEN has_any_column_privilege(role, t, r) ELSE false END
    """
    found: dict[tuple[str, str], set[str]] = {}
    roles = {cluster.role(name): name for name in [*services(), *LOGINS]}
    with psycopg.connect(cluster.admin_dsn(cluster.database(database))) as connection:
        for role, table, right in connection.execute(query, (list(roles), tables(cluster, database))):
            found.setdefault((roles[role], table), set()).add(right)
    return found


def test_every_role_sees_moments_in_utc_whatever_the_servers_zone_is(cluster: Settings) -> None:
    for database in databases():
        name = cluster.database(database)
        with psycopg.connect(cluster.admin_dsn(name), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = {}").format(sql.Identifier(name), ZONE))
        for role in logins_of(database):
            with psycopg.connect(cluster.dsn_for(database, role)) as connection:
                assert connection.execute("SELECT now()").fetchone()[0].tzinfo is UTC, (database, role)


@pytest.mark.parametrize("service", sorted(services()))
def test_nobody_may_change_or_remove_an_event(cluster: Settings, service: str) -> None:
    assert len([t for t in tables(cluster, service) if t.startswith("journal.event")]) == 5
    found = {place: some for place, some in rights(cluster, service).items() if place[1].startswith("journal.event")}
    assert found == {
        (service, "journal.event"): {"SELECT", "INSERT"},
        ("relay", "journal.event"): {"SELECT"},
        ("worker", "journal.event"): {"SELECT"},
        ("auditor", "journal.event"): {"SELECT"},
    }


@pytest.mark.parametrize("service", sorted(services()))
def test_who_is_called_what_is_only_for_the_service_itself(cluster: Settings, service: str) -> None:
    kept = ("journal.identifier", "journal.named")
    found = {place: some for place, some in rights(cluster, service).items() if place[1] in kept}
    assert found == {
        (service, "journal.identifier"): {"SELECT", "INSERT"},
        (service, "journal.named"): {"SELECT", "INSERT", "UPDATE"},
    }
    statement = "UPDATE journal.named SET {} = {}"
    for column in ("digest", "resource_id"):
        with (
            psycopg.connect(cluster.dsn_for(service, service)) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement.format(column, column))


def test_nobody_may_change_or_remove_what_the_ledger_archived(cluster: Settings) -> None:
    kept = ("ledger.event", "ledger.entries")
    found = {place: some for place, some in rights(cluster, "cluster").items() if place[1].startswith(kept)}
    assert found == {
        ("worker", "ledger.entries"): {"SELECT", "INSERT"},
        ("auditor", "ledger.entries"): {"SELECT"},
        ("checkpoint", "ledger.entries"): {"SELECT"},
        ("worker", "ledger.event"): {"SELECT", "INSERT"},
        ("auditor", "ledger.event"): {"SELECT"},
        ("rebuilder", "ledger.event"): {"SELECT"},
        ("checkpoint", "ledger.event"): {"SELECT"},
    }
    for column in ("value", "subject", "recorded"):
        with (
            psycopg.connect(cluster.dsn_for("cluster", "checkpoint")) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(f"SELECT {column} FROM ledger.event")


def test_nobody_may_change_or_remove_a_message_as_it_came(cluster: Settings) -> None:
    found = rights(cluster, "intake")
    assert {role for role, table in found if not table.startswith(("quarantine.", "inbox.unmapped"))} == {"intake"}
    assert found["reader", "inbox.unmapped"] == {"SELECT"}
    assert found["intake", "inbox.message"] == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    with (
        psycopg.connect(cluster.dsn_for("intake", "intake")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("UPDATE inbox.message SET original = ''")


def test_who_may_do_what_with_refused_messages(cluster: Settings) -> None:
    found = {role: some for (role, table), some in rights(cluster, "intake").items() if table == "quarantine.message"}
    assert found == {"intake": {"SELECT", "INSERT", "UPDATE"}, "reader": {"SELECT"}, "auditor": {"SELECT"}}


def test_only_a_message_of_which_nothing_was_appended_can_be_forgotten(cluster: Settings) -> None:
    record = (
        "INSERT INTO inbox.message (id, received, operator, clinic, door, state, key, original, result)"
        " VALUES (%s, now(), 'o', 'o/c', 'test', %s, %s, '', %s)"
    )
    kinds = [("received", None), ("received", '{"refused": "x"}'), ("done", '{"events": {}}'), ("done", None)]
    with psycopg.connect(cluster.dsn_for("intake", "intake")) as connection:
        ids = [uuid4() for _ in kinds]
        for id_, (state, result) in zip(ids, kinds, strict=True):
            connection.execute(record, (id_, state, uuid4(), result))
        gone = connection.execute("DELETE FROM inbox.message WHERE id = ANY(%s) RETURNING id", (ids,)).fetchall()
        connection.rollback()
    assert gone == [(ids[0],)]


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE journal.event SET value = ''",
        "DELETE FROM journal.event",
        "TRUNCATE journal.event",
        "DROP TABLE journal.event",
    ],
)
def test_a_service_cannot_touch_its_past(filled: Settings, attempt: str) -> None:
    with (
        psycopg.connect(filled.dsn_for("registration", "registration")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(attempt)


def test_a_service_cannot_enter_another_ones_database(cluster: Settings) -> None:
    for role in services():
        for database in [*services(), "cluster", "intake", "keys"]:
            if role == database or (role, database) == ("access_audit", "keys"):
                continue
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(cluster.dsn_for(database, role))


def test_a_worker_cannot_write_a_journal(cluster: Settings) -> None:
    for service in services():
        found = rights(cluster, service)
        assert {table: some for (role, table), some in found.items() if role == "worker"} == {
            "journal.event": {"SELECT"}
        }
        with (
            psycopg.connect(cluster.dsn_for(service, "worker")) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("INSERT INTO journal.head VALUES (gen_random_uuid(), 1)")


def test_nobody_changes_a_data_key_and_only_who_seals_makes_one(cluster: Settings) -> None:
    assert rights(cluster, "keys") == {
        ("intake", "keys.data_key"): {"SELECT", "INSERT"},
        ("worker", "keys.data_key"): {"SELECT"},
        ("auditor", "keys.data_key"): {"SELECT"},
        ("rebuilder", "keys.data_key"): {"SELECT"},
        ("door", "keys.data_key"): {"SELECT"},
        ("access_audit", "keys.data_key"): {"SELECT", "INSERT"},
        ("intake", "keys.wrapping_key"): {"SELECT", "INSERT"},
        ("worker", "keys.wrapping_key"): {"SELECT"},
        ("auditor", "keys.wrapping_key"): {"SELECT"},
        ("rebuilder", "keys.wrapping_key"): {"SELECT"},
    }


def test_an_auditor_writes_nowhere(cluster: Settings) -> None:
    some = [right for (role, _), right in rights(cluster, "cluster").items() if role == "auditor"]
    assert some
    assert all(right == {"SELECT"} for right in some)


def test_a_reader_sees_the_parked_list_without_its_values(cluster: Settings) -> None:
    found = {table: some for (role, table), some in rights(cluster, "cluster").items() if role == "reader"}
    mine = {f"{p.schema}.{t.name}" for p in projections().values() for t in p.tables.values()}
    assert found == {table: {"SELECT"} for table in {*mine, "projection.parked"}}
    with (
        psycopg.connect(cluster.dsn_for("cluster", "reader")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT value FROM projection.parked")


def test_no_role_passes_row_level_security_and_no_owner_logs_in(cluster: Settings) -> None:
    with psycopg.connect(cluster.admin_dsn()) as connection:
        rows = connection.execute(
            "SELECT rolname, rolcanlogin, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb FROM pg_roles"
            " WHERE rolname LIKE %s",
            (f"{cluster.namespace}\\_%",),
        ).fetchall()
    assert len(rows) == len(services()) + len(LOGINS) + 1
    assert {name for name, login, _ in rows if not login} == {cluster.role("owner")}
    assert not any(mighty for _, _, mighty in rows)


# A clinic sees its own


CLINICS = sorted(name for name, p in projections().items() if p.scope is Scope.CLINIC)


def seen(cluster: Settings, query: str, clinic: str | None) -> list[tuple[Any, ...]]:
    database = Database(cluster.dsn_for("cluster", "reader"), size=1)
    try:
        with database.transaction(clinic=clinic) as cur:
            return cur.execute(query).fetchall()
    finally:
        database.close()


def test_a_clinic_sees_its_own_patients_only(filled: Settings) -> None:
    for clinic, family in ((HERE, "Hier"), (THERE, "Dort")):
        person = "SELECT family FROM clinic_patients_v2.clinic_patients_person"
        assert seen(filled, person, clinic) == [(family,)]
        assert seen(filled, "SELECT family, clinic_id FROM read.clinic_patients", clinic) == [(family, clinic)]
        rows = read(filled, projections()["clinic_patients"], clinic=clinic)[1]
        assert [(row["family"], row["clinic_id"]) for row in rows] == [(family, clinic)]
        assert read(filled, projections()["clinic_patients"], clinic=clinic, where={"family": "Dort"})[1] == (
            rows if family == "Dort" else []
        )


@pytest.mark.parametrize("clinic", [None, "", "%", "charite", "charite/gyn' OR true --", "nobody/nowhere"])
def test_without_its_clinic_a_reader_sees_nothing(filled: Settings, clinic: str | None) -> None:
    for name in CLINICS:
        projection = projections()[name]
        assert seen(filled, f"SELECT * FROM read.{name}", clinic) == []
        for table in projection.tables.values():
            assert seen(filled, f"SELECT * FROM {projection.schema}.{table.name}", clinic) == [], table.name


def test_a_clinic_does_not_stay_with_a_connection(filled: Settings) -> None:
    database = Database(filled.dsn_for("cluster", "reader"), size=1)
    with database.transaction(clinic=HERE) as cur:
        assert cur.execute("SELECT count(*) FROM read.clinic_patients").fetchone() == (1,)
    with database.transaction() as cur:
        assert cur.execute("SELECT count(*) FROM read.clinic_patients").fetchone() == (0,)
    database.close()


def test_every_table_of_a_clinics_projection_has_row_level_security(cluster: Settings) -> None:
    wanted = {(projections()[n].schema, t.name) for n in CLINICS for t in projections()[n].tables.values()}
    with psycopg.connect(cluster.admin_dsn(cluster.database("cluster"))) as connection:
        forced = connection.execute(
            "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE relrowsecurity AND relforcerowsecurity"
        ).fetchall()
        views = connection.execute(
            "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE nspname = 'read' AND relkind = 'v'"
            " AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)"
        ).fetchall()
    assert wanted <= set(forced)
    assert views == [("ledger_seen",)]


def test_a_front_door_sees_its_own_clinics_subjects_whatever_it_asks(filled: Settings) -> None:
    chart = "SELECT subject::text FROM read.cluster_chart_seen WHERE source <> 'directory'"
    ledger = "SELECT subject::text FROM read.ledger_seen WHERE source <> 'directory'"
    words = "SELECT subject::text FROM read.cluster_chart_word_seen WHERE source <> 'directory'"
    roster = "SELECT subject::text FROM read.roster"
    with psycopg.connect(filled.dsn_for("cluster", "door"), autocommit=True) as door:

        def seen(query: str, clinic: str | None) -> set[str]:
            with door.transaction():
                if clinic:
                    door.execute("SELECT set_config('epicrisis.clinic', %s, true)", (clinic,))
                return {subject for (subject,) in door.execute(query)}

        for query in (chart, ledger, words, roster):
            here, there = seen(query, HERE), seen(query, THERE)
            assert (len(here), len(there)) == (1, 1), query
            assert not here & there
            assert seen(query, None) == set()
            other = next(iter(there))
            assert seen(f"SELECT * FROM ({query}) AS all_of_it WHERE subject = '{other}'", HERE) == set()


@pytest.mark.parametrize(
    "table",
    [
        "ledger.event",
        "ledger.subject",
        "cluster_chart_v3.cluster_chart",
        "cluster_chart_v3.cluster_chart_word",
        "clinic_patients_v2.clinic_patients_person",
        "read.clinic_patients",
        "read.cluster_chart",
        "projection.poison",
    ],
)
def test_a_front_door_reads_by_no_other_way(filled: Settings, table: str) -> None:
    with (
        psycopg.connect(filled.dsn_for("cluster", "door")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    ("database", "role", "query"),
    [
        ("cluster", "door", "SELECT 1 FROM read.ledger_seen WHERE subject = ANY(%s::uuid[])"),
        ("chart", "chart", "SELECT 1 FROM journal.event WHERE subject = ANY(%s::uuid[])"),
        ("keys", "intake", "SELECT 1 FROM keys.data_key WHERE subject = ANY(%s::uuid[])"),
    ],
)
def test_what_is_asked_again_and_again_is_planned_once(cluster: Settings, database: str, role: str, query: Any) -> None:
    with psycopg.connect(cluster.dsn_for(database, role), prepare_threshold=0) as connection:
        for _ in range(10):
            connection.execute(query, ([uuid4()],))
        kept = connection.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements", prepare=False)
        assert kept.fetchall()[0] == (10, 0)


# Kafka


def errors_of(action: Any) -> str:
    try:
        return repr(action())
    except KafkaError as error:
        return type(error).__name__


def test_a_worker_cannot_write_the_log(cluster: Settings) -> None:
    settings = cluster.kafka("worker") | {"allow_auto_create_topics": False, "enable_idempotence": False}
    producer = KafkaProducer(**settings, max_block_ms=5000)
    try:
        assert errors_of(lambda: producer.send(cluster.topic(), b"x", partition=0).get(10)) == (
            "TopicAuthorizationFailedError"
        )
    finally:
        producer.close(timeout=0)


def test_a_relay_cannot_read_the_log(filled: Settings) -> None:
    place = TopicPartition(filled.topic(), 0)
    admin = KafkaConsumer(**filled.kafka("admin"), enable_auto_commit=False, group_id=None)
    with_something = [
        TopicPartition(filled.topic(), p)
        for p in range(filled.partitions)
        if admin.end_offsets([TopicPartition(filled.topic(), p)])[TopicPartition(filled.topic(), p)]
    ]
    admin.close(autocommit=False)
    place = with_something[0]

    def polled(user: str) -> list[Any]:
        consumer = KafkaConsumer(**filled.kafka(user), enable_auto_commit=False, group_id=None)
        try:
            consumer.assign([place])
            consumer.seek(place, 0)
            found: list[Any] = []
            with suppress(KafkaError):
                for _ in range(4):
                    found += [r for some in consumer.poll(timeout_ms=500).values() for r in some]
            return found
        finally:
            consumer.close(autocommit=False)

    assert polled("relay") == []
    assert polled("worker") != []


@pytest.mark.parametrize("user", ["relay", "worker"])
def test_neither_makes_topics_or_users(cluster: Settings, user: str) -> None:
    admin = KafkaAdminClient(**cluster.kafka(user))
    try:
        with pytest.raises(KafkaError):
            admin.create_topics({f"{cluster.topic()}.mine": {"num_partitions": 1, "replication_factor": 1}})
    finally:
        admin.close()


def test_a_stranger_is_not_let_in(cluster: Settings) -> None:
    mine = cluster.kafka("worker")
    assert answers(mine, 10)
    for wrong in ({"sasl_plain_password": "not-the-password"}, {"sasl_plain_username": "somebody"}):
        assert not answers(mine | wrong, 1.5)


# No clinical word


def test_no_name_date_or_code_leaves_the_sealed_bodies(
    cluster: Settings, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    number = f"PAT{uuid4().hex[:8]}"
    banana = observation("w8", to="Patient/w1") | {"status": "banana"}
    person = patient("w1", number=number, family=NAME)
    chart = projections()["cluster_chart"]
    with Pipeline(cluster) as running:
        # One projection cannot apply it: parked.
        monkeypatch.setattr(chart, "plan", lambda event, meta: (_ for _ in ()).throw(ValueError(repr(event))))
        running.send(bundle(person, condition("w2", to="Patient/w1"), observation("w3", to="Patient/w1")), clinic=OWN)
        running.send(bundle(condition("w2", "refuted", to="Patient/w1")), clinic=OWN)
        for refused in (
            bundle(banana),
            bundle(condition("w2", "confirmed", to="Patient/w1")),
            bundle(patient("w9", identifier=[{"system": "urn:numbers", "value": number}], name=[{"family": [NAME]}])),
            bundle(observation("w4", to=f"Patient?identifier=urn:numbers|{number}x")),
            json.dumps({"resourceType": "Patient", "name": NAME, "birthDate": f"{BORN}x"}).encode(),
        ):
            with pytest.raises(Refused) as caught:
                running.send(refused, clinic=OWN)
            said.append(f"{caught.value!r}")
        running.wait()
        listed = parked.listing(cluster)
        assert any(row["consumer"] == "cluster_chart_v3" for row in listed)
        said.append(repr(listed))
        said += [repr(parked.queue(cluster, row["subject"])) for row in listed if "subject" in row]
    consumer = KafkaConsumer(**cluster.kafka("worker"), enable_auto_commit=False, group_id=None)
    places = [TopicPartition(cluster.topic(), p) for p in range(cluster.partitions)]
    ends = consumer.end_offsets(places)
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    records = []
    while any(consumer.position(place) < ends[place] for place in places):
        records += [r for some in consumer.poll(timeout_ms=500).values() for r in some]
    consumer.close(autocommit=False)
    assert len(records) >= 4
    for record in records:
        UUID(bytes=record.key)
        said.append(repr(record.headers))
        said.append(repr(record.value))
    out, err = capfd.readouterr()
    assert "subjects parked" in err
    said += [out, err]
    for word in (NAME, BORN, CODE, number, "29463-7", "Ada"):
        assert not [text for text in said if word in text], word
