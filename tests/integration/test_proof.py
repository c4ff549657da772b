"""The proof on PostgreSQL and over HTTP: from the ledger's rows to a file that is checked without either."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import uvicorn
from typer.testing import CliRunner

from epicrisis import assembly
from epicrisis.audit import assembled, role
from epicrisis.audit.chain import entry_of
from epicrisis.audit.checkpoint import Checkpoints, Tampered
from epicrisis.audit.memory import MemoryRecords
from epicrisis.audit.signing import Signer
from epicrisis.audit.verifier.__main__ import main as verify
from epicrisis.audit.verifier.check import check, check_agreement
from epicrisis.audit.verifier.note import Policy
from epicrisis.audit.witness import Witness
from epicrisis.errors import Refused
from epicrisis.fsck.run import fsck
from epicrisis.ledger import LedgerFollower
from epicrisis.settings import Settings
from tests.kernel_support import Desk, MemoryLog, note, own_namespace, subject_in, wait_until

pytestmark = pytest.mark.servers
WITNESS = Signer.witness("w.example", bytes(range(32)))


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An installation whose checkpoints one witness has to cosign, over HTTP."""
    folder = tmp_path_factory.mktemp("witness")
    with own_namespace(servers, kafka=False) as bare:
        log = Signer.log(bare.log_origin, bare.checkpoint_key_bytes())
        memory = Witness(WITNESS, log.keys, folder / "witness.sqlite")
        server = uvicorn.Server(uvicorn.Config(role.witness_app(memory), port=0, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_until(lambda: server.started, "the witness listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        lines = [f"witness w{n} {key} http://127.0.0.1:{port}" for n, key in enumerate(WITNESS.keys)]
        file = folder / "witnesses.policy"
        file.write_text("\n".join([*lines, "group w all w0 w1", "quorum w", ""]), encoding="utf-8")
        yield Settings(**servers, namespace=bare.namespace, witnesses=file)
        server.should_exit = True
        thread.join()
        memory.close()


class Filled:
    """Four patients of the first partition in the ledger, two checkpoints over them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = MemoryLog(assembly.key_store(settings, "intake"))
        self.patients: list[UUID] = [subject_in(0), subject_in(16), subject_in(32)]
        self.erased = subject_in(48)
        self.desk = Desk(settings, self.log, [LedgerFollower()])
        for n in range(12):
            self.log.add(self.patients[n % 3], note(f"n{n}"))
            if n % 3 == 0:
                self.log.add(self.erased, note(f"e{n}"))
            if n == 6:
                self.desk.follow(5)
                self.publish()
        self.desk.follow(5)
        self.publish()

    def publish(self) -> None:
        made = assembled.checkpoints(self.settings)
        role.once(made, role.post)
        made.store.close()

    def policy(self) -> Policy:
        return Policy.parse(assembled.published_policy(self.settings))


@pytest.fixture(scope="module")
def filled(cluster: Settings) -> Iterator[Filled]:
    made = Filled(cluster)
    yield made
    made.desk.close()
    made.log.keys.close()


def test_a_patients_history_is_exported_with_its_proof(filled: Filled) -> None:
    for patient in filled.patients:
        raw, said = assembled.export_of(filled.settings, patient)
        verdict = check(raw, filled.policy())
        assert verdict.events == said.events
        assert [e.envelope.seq for e in verdict.events if e.envelope] == [1, 2, 3, 4]
        assert {key.name for key in verdict.signed} == {filled.settings.log_origin, "w.example"}
    stranger = subject_in(5)
    assert check(assembled.export_of(filled.settings, stranger)[0], filled.policy()).events == ()


def test_two_exports_agree_and_the_recount_finds_nothing(filled: Filled) -> None:
    before = check(assembled.export_of(filled.settings, filled.patients[0])[0])
    filled.publish()
    check_agreement(before, check(assembled.export_of(filled.settings, filled.patients[0])[0]))
    check_agreement(before, check(assembled.export_of(filled.settings, filled.patients[1])[0]))
    assert assembled.recounted(filled.settings) == []


def test_postgresql_and_memory_make_the_same_trees_and_map(filled: Filled) -> None:
    memory = MemoryRecords()
    with psycopg.connect(filled.settings.dsn_for("cluster", "auditor")) as connection:
        rows = connection.execute("SELECT subject, n, link FROM ledger.event ORDER BY leaf").fetchall()
        entry = connection.execute("SELECT entry FROM proof.head ORDER BY number DESC LIMIT 1").fetchone()
    memory.ledger[0] = b"".join(entry_of(*row) for row in rows)
    Checkpoints(memory, Signer.log("x", bytes(32)), filled.settings.partitions).publish()
    assert entry is not None

    def trees(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(("partition", "subjects"))]

    assert trees(memory.heads[0]) == trees(entry[0])


def test_only_what_the_newest_and_the_trusted_checkpoint_need_is_kept(filled: Filled) -> None:
    queries = {
        "buckets": "SELECT count(*) FROM proof.bucket",
        "shelves": "SELECT count(DISTINCT shelf) - count(*) FROM proof.shelf",
        "notes": "SELECT count(*) - count(DISTINCT tree) FROM proof.note",
    }
    with psycopg.connect(filled.settings.dsn_for("cluster", "auditor")) as connection:
        found = {name: connection.execute(query).fetchone() for name, query in queries.items()}
    assert found == {"buckets": (4,), "shelves": (0,), "notes": (0,)}


def test_the_commands(filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import epicrisis.cli.audit
    from epicrisis.cli.app import app

    assert epicrisis.cli.audit
    monkeypatch.setattr(Settings, "read", classmethod(lambda cls: filled.settings))
    run = CliRunner().invoke
    patient, file, policy = filled.patients[2], tmp_path / "history.zip", tmp_path / "cluster.policy"
    shown = run(app, ["audit", "policy"])
    policy.write_text(shown.output, encoding="utf-8")
    done = run(app, ["audit", "export", f"Patient/{patient}", "-o", str(file)])
    assert (done.exit_code, "4 events of patient" in done.output) == (0, True)
    assert verify([str(file), "--policy", str(policy)]) == 0
    done = run(app, ["audit", "recount"])
    assert (done.exit_code, done.output) == (0, "the newest checkpoint says what the ledger's entries say\n")
    assert isinstance(run(app, ["audit", "export", "nobody", "-o", str(file)]).exception, Refused)
    keys = run(app, ["witness", "--name", "w.example", "--keys"]).output
    assert len(Policy.parse(f"{keys}quorum w.example-both\n").witnesses) == 2


def test_an_attacker_with_all_rights_on_the_database_is_found(filled: Filled) -> None:
    settings, patient = filled.settings, filled.patients[0]
    changes = [
        ("UPDATE ledger.event SET value = value || '\\x00' WHERE subject = %s AND n = 2", "compare the record"),
        ("DELETE FROM ledger.event WHERE subject = %s AND n = 4", "do not agree"),
        ("UPDATE ledger.event SET link = value WHERE subject = %s AND n = 1", "do not agree"),
        ("UPDATE proof.bucket SET members = '' WHERE %s IS NOT NULL", "do not agree"),
        ("UPDATE proof.note SET note = replace(note, 'A', 'B') WHERE %s IS NOT NULL", "do not agree"),
    ]
    for change, why in changes:
        with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
            kept = _saved(connection)
            connection.execute(change, (patient,))
            connection.commit()
            try:
                with pytest.raises(Exception, match=why):
                    assembled.export_of(settings, patient)
            finally:
                _restored(connection, kept)
    for change in (
        "UPDATE proof.tile SET hashes = '\\x00' || substr(hashes, 2)",
        "UPDATE proof.head SET entry = replace(entry, 'subjects 4', 'subjects 5')",
        "UPDATE proof.shelf SET hashes = '\\x00' || substr(hashes, 2)",
    ):
        with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
            kept = _saved(connection)
            connection.execute(change)
            connection.commit()
            try:
                assert assembled.recounted(settings)
                with pytest.raises(Tampered):
                    filled.publish()
            finally:
                _restored(connection, kept)
    assert assembled.recounted(settings) == []


def test_fsck_finds_entries_that_are_not_the_events(filled: Filled) -> None:
    settings = filled.settings

    def said() -> set[str]:
        return {one.problem for one in fsck(settings, ["proof"]).findings}

    assert said() == set()
    for change, problem in [
        (
            "UPDATE ledger.entries SET entries = substr(entries, 2) || entries",
            "the entry is not the event's",
        ),
        ("UPDATE ledger.event SET leaf = leaf + 1", "the entry is not the event's"),
        ("DELETE FROM ledger.event WHERE leaf = 3", "16 entries, 15 events"),
        ("DELETE FROM ledger.entries WHERE first > 8", "partition 0: 16 entries were signed, 10 are there"),
    ]:
        with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
            kept = _saved(connection)
            connection.execute(change)
            connection.commit()
            try:
                assert problem in said(), change
            finally:
                _restored(connection, kept)
    assert said() == set()


TABLES = ("ledger.event", "ledger.entries", "proof.bucket", "proof.shelf", "proof.note", "proof.tile", "proof.head")


def _saved(connection: psycopg.Connection[Any]) -> None:
    for table in TABLES:
        connection.execute(f"CREATE TEMPORARY TABLE {table.replace('.', '_')} AS SELECT * FROM {table}")


def _restored(connection: psycopg.Connection[Any], _: None) -> None:
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")
        connection.execute(f"INSERT INTO {table} SELECT * FROM {table.replace('.', '_')}")
        connection.execute(f"DROP TABLE {table.replace('.', '_')}")
    connection.commit()


def test_a_checkpoint_role_runs_until_it_is_stopped_and_waits_for_a_database(filled: Filled) -> None:
    made = assembled.checkpoints(filled.settings)
    stop, asked = threading.Event(), []

    def ask(address: str, request: str) -> tuple[int, str]:
        asked.append(address)
        if len(asked) == 1:
            raise psycopg.OperationalError("gone")
        stop.set()
        return role.post(address, request)

    thread = threading.Thread(target=role.run, args=(made, stop), kwargs={"every": 0.01, "ask": ask})
    began = time.monotonic()
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), time.monotonic() - began
    assert len(asked) >= 2
    made.store.close()


def test_an_erased_patient_is_still_proved(filled: Filled) -> None:
    patient = filled.erased
    with psycopg.connect(filled.settings.admin_dsn(filled.settings.database("keys"))) as connection:
        connection.execute("DELETE FROM keys.data_key WHERE subject = %s", (patient,))
    raw, _ = assembled.export_of(filled.settings, patient)
    assert [event.envelope for event in check(raw, filled.policy()).events] == [None] * 4
