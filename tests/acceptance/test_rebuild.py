"""`epicrisis rebuild` on a running installation: killed, compared, swapped under readers, rolled back, bumped."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from epicrisis import simulate
from epicrisis.database import Database
from epicrisis.found import projection
from epicrisis.projecting.digest import columns_of, content, digest
from epicrisis.provision import provision
from epicrisis.rebuild import drop
from epicrisis.settings import Settings
from tests.acceptance.support import (
    caught_up,
    command,
    environment,
    installation,
    ledger_total,
    roles,
    rows,
    run,
    wait_until,
)

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]
NAMES = ("clinic_patients", "cluster_activity", "cluster_oncology_pathway")
ONE = "cluster_chart"
PATIENT = "-c idle_in_transaction_session_timeout=0"
"""A test may be stopped for a while, and go on."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    made = []
    for number, message in enumerate(simulate.messages(patients=6, seed=5)):
        made.append(folder / f"{number:06d}.json")
        made[-1].write_bytes(message.bundle)
    return made


@pytest.fixture(scope="module")
def running(servers: dict[str, Any], bundles: list[Path]) -> Iterator[Settings]:
    """Two thirds of the messages are in, the roles run."""
    with installation(servers) as settings, roles(settings, ("relay",), ("work",)):
        for left in (2, 1, 0):  # sent again after a pause of the machine: it changes nothing
            first = run(settings, "import", *map(str, bundles[: len(bundles) * 2 // 3]), seconds=300)
            assert left or not first.returncode, first.stdout[-2000:] + first.stderr[-2000:]
            if not first.returncode:
                break
        caught_up(settings)
        yield settings


@pytest.fixture(autouse=True)
def tidy(running: Settings) -> Iterator[None]:
    """Each test leaves one generation of each projection."""
    yield
    for state in ("building", "ready"), ("retired",):
        drop(running, [*NAMES, ONE], *state)


def states(settings: Settings, name: str) -> dict[str, str]:
    query = sql.SQL("SELECT schema, state FROM projection.generation WHERE projection = {}").format(sql.Literal(name))
    return dict(rows(settings, "cluster", query))


def live(settings: Settings, name: str) -> str:
    return next(schema for schema, state in states(settings, name).items() if state == "live")


def digests(settings: Settings, schema: str) -> list[Any]:
    name = schema.rsplit("_v", 1)[0]
    at = projection(name).in_schema(schema)
    database = Database(settings.dsn_for("cluster", "auditor"), size=1)
    with database.transaction() as cur:
        found = [digest(cur, content(at, table), columns_of(table)) for table in at.tables.values()]
    database.close()
    return found


def rebuilt(settings: Settings, *words: str, code: int = 0) -> list[dict[str, Any]]:
    done = run(settings, "rebuild", *words, "--format", "json", seconds=300)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@contextmanager
def readers(settings: Settings, count: int = 3) -> Iterator[list[Any]]:
    """Read every view all the time; whatever goes wrong is raised at the end."""
    stop, reads, errors = threading.Event(), list[Any](), list[BaseException]()
    views = [f"read.{projection(name).view(t)}" for name in NAMES for t in projection(name).tables.values()]

    def read() -> None:
        try:
            with psycopg.connect(settings.dsn_for("cluster", "auditor"), options=PATIENT) as connection:
                while not stop.is_set():
                    reads.append([connection.execute(f"SELECT count(*) FROM {v}".encode()).fetchone() for v in views])
                    connection.rollback()
                    stop.wait(0.01)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield reads
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors[0]


def test_rebuilt_while_messages_come_in_and_readers_read(running: Settings, bundles: list[Path]) -> None:
    before = {name: live(running, name) for name in NAMES}
    began = ledger_total(running)
    with roles(running, ("import", *map(str, bundles[len(bundles) * 2 // 3 :]))) as sending, readers(running) as reads:
        wait_until(lambda: ledger_total(running) > began, "new events come in", 300)
        table = rebuilt(running, *NAMES)
        assert all(state == "live" and not changed for state, changed in ((r["state"], r["changed"]) for r in table))
        assert sending[0].to_the_end(200) == 0
        caught_up(running)
    assert len({json.dumps(one) for one in reads}) > 1
    for name in NAMES:
        now = live(running, name)
        assert states(running, name) == {before[name]: "retired", now: "live"}
        assert digests(running, now) == digests(running, before[name])


# kill -9


def hold(settings: Settings, query: str) -> psycopg.Connection[Any]:
    """Stand in the way until the connection is closed."""
    connection = psycopg.connect(settings.admin_dsn(settings.database("cluster")))
    connection.execute(query.encode())
    return connection


def begun(settings: Settings) -> str | None:
    return next((schema for schema, state in states(settings, ONE).items() if state in ("building", "ready")), None)


def parts_left(settings: Settings) -> int | None:
    found = rows(settings, "cluster", "SELECT count(*) FILTER (WHERE events IS NULL), count(*) FROM projection.part")
    return int(found[0][0]) if found[0][1] else None


def children_gone(settings: Settings) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE usename = '{}' AND state <> 'idle'"
    return not rows(settings, "cluster", query.format(settings.role("rebuilder")))


def killed_in(settings: Settings, way: str, reached: Callable[[], Any], *words: str) -> None:
    """A rebuild that stands before this obstacle is killed there, together with its processes' parent."""
    obstacle = hold(settings, way) if way else None
    with roles(settings, ("rebuild", ONE, *words)) as (rebuild,):
        wait_until(reached, "the rebuild has come so far")
        rebuild.kill()
    if obstacle is not None:
        obstacle.close()
    wait_until(lambda: children_gone(settings), "its processes have ended")


def test_killed_anywhere_it_goes_on_where_it_was(running: Settings) -> None:
    old = live(running, ONE)
    # While it fills: the last parts are held, the others are done.
    with roles(running, ("rebuild", ONE, "--workers", "1")) as (early,):
        wait_until(lambda: begun(running), "it has begun")
        early.kill()
    wait_until(lambda: children_gone(running), "its processes have ended")
    new = begun(running)
    assert new is not None
    some = f"SELECT FROM projection.part WHERE schema = '{new}' AND first > 500 AND events IS NULL FOR UPDATE"
    held = len(rows(running, "cluster", some.replace("SELECT FROM", "SELECT first FROM")))
    killed_in(running, some, lambda: parts_left(running) == held)
    assert parts_left(running) == held
    # While it makes the indexes.
    table = f"{new}.{ONE}"
    killed_in(running, f"LOCK TABLE {table} IN ACCESS SHARE MODE", lambda: waits_for_lock(running))
    assert parts_left(running) == 0
    assert begun(running) == new
    # While it waits for the workers, and while it swaps.
    view = f"LOCK TABLE read.{ONE} IN ACCESS SHARE MODE"
    killed_in(running, view, lambda: states(running, ONE).get(new) == "ready")
    killed_in(running, view, lambda: waits_for_lock(running))
    assert live(running, ONE) == old
    row, words = rebuilt(running, ONE)
    assert (row["generation"], row["state"], row["changed"]) == (new, "live", 0)
    assert (words["generation"], words["state"], words["changed"]) == (new, "live", 0)
    caught_up(running)
    assert digests(running, new) == digests(running, old)


def waits_for_lock(settings: Settings) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE usename = '{}' AND wait_event_type = 'Lock'"
    return bool(rows(settings, "cluster", query.format(settings.role("rebuilder"))))


def test_a_killed_process_of_it_is_said_and_its_part_done_by_another(running: Settings) -> None:
    process = subprocess.Popen(
        command("rebuild", ONE, "--workers", "2", "--format", "json"),
        env=environment(running),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: begun(running), "it has begun")
        held = hold(running, "SELECT FROM projection.part WHERE events IS NULL FOR UPDATE")
        child = wait_until(lambda: filler_of(process.pid), "a process of its own runs")
        signal.pidfd_send_signal(child, signal.SIGKILL)
        held.close()
        said, log = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, log
    assert "a process that fills was lost" in log
    row, words = json.loads(said)
    assert (row["state"], row["changed"]) == (words["state"], words["changed"]) == ("live", 0)


def filler_of(parent: int) -> int | None:
    """A handle on a spawned process of this one."""
    import os

    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in listed:
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            return os.pidfd_open(int(child))
    return None


# What is wrong, and back


def change(settings: Settings, statement: str) -> None:
    """As nobody may but an administrator."""
    with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
        connection.execute(statement.encode())


def lowest(schema: str, column: str) -> str:
    return f"(SELECT min({column}::text)::uuid FROM {schema}.{ONE})"


def test_a_wrong_live_model_is_shown_and_replaced_only_when_told_so(running: Settings) -> None:
    old = live(running, ONE)
    change(running, f"UPDATE {old}.{ONE} SET status = 'forged' WHERE resource_id = {lowest(old, 'resource_id')}")
    row, words = rebuilt(running, ONE, code=1)
    assert row["state"] == "ready"
    assert 1 <= row["changed"] <= 2
    assert words["changed"] == 0
    assert live(running, ONE) == old
    said = run(running, "rebuild", ONE)
    assert said.returncode == 1
    assert "--accept-difference" in said.stderr
    row, words = rebuilt(running, ONE, "--accept-difference")
    assert row["state"] == words["state"] == "live"
    assert not rows(running, "cluster", f"SELECT 1 FROM read.{ONE} WHERE status = 'forged'")
    assert run(running, "rebuild", ONE, "--rollback").returncode == 0
    assert live(running, ONE) == old
    assert rows(running, "cluster", f"SELECT 1 FROM read.{ONE} WHERE status = 'forged'")
    assert run(running, "rebuild", ONE, "--rollback").returncode == 0
    assert not rows(running, "cluster", f"SELECT 1 FROM read.{ONE} WHERE status = 'forged'")
    dropped = run(running, "rebuild", ONE, "--drop-old")
    assert dropped.returncode == 0
    assert old in dropped.stdout
    again = run(running, "rebuild", ONE, "--rollback")
    assert again.returncode == 1
    assert "no former generation" in again.stderr
    assert not rows(running, "cluster", f"SELECT 1 FROM pg_namespace WHERE nspname = '{old}'")
    caught_up(running)


def test_one_patient_is_mended_in_place(running: Settings) -> None:
    old = live(running, ONE)
    sound = digests(running, old)
    subject = rows(running, "cluster", f"SELECT min(subject::text) FROM {old}.{ONE}")[0][0]
    change(running, f"UPDATE {old}.{ONE} SET status = 'forged' WHERE subject = '{subject}'")
    done = run(running, "rebuild", "--subject", subject, "--format", "json")
    assert done.returncode == 0, done.stderr
    mended = {row["projection"]: row["changed"] for row in json.loads(done.stdout)}
    assert mended == {name: name == ONE for name in mended}
    assert "cluster_activity" not in mended
    assert digests(running, old) == sound
    refused = run(running, "rebuild", "cluster_activity", "--subject", subject)
    assert refused.returncode == 1
    assert "only sums over subjects" in refused.stderr


def test_another_version_is_built_beside_the_one_that_is_read(running: Settings, bundles: list[Path]) -> None:
    """As after an upgrade: what is read was made by a release with version 0."""
    old = live(running, ONE)
    change(running, f"UPDATE projection.generation SET version = 0 WHERE schema = '{old}'")
    assert provision(running) == [ONE]
    assert live(running, ONE) == old
    before = digests(running, old)
    assert rows(running, "cluster", f"SELECT count(*) FROM read.{ONE}")[0][0] > 0
    row, words = rebuilt(running, ONE)
    assert (row["state"], row["rows_before"]) == ("live", "another version")
    assert words["rows_before"] == "another version"
    new = live(running, ONE)
    assert digests(running, new) == before
    caught_up(running)
    (followed,) = [r for r in json.loads(run(running, "lag", "--format", "json").stdout) if r["name"] == new]
    assert followed["behind"] == 0
    back = run(running, "rebuild", ONE, "--rollback")
    assert back.returncode == 0, back.stderr  # nothing has come in since: it is not behind
    assert live(running, ONE) == old
    assert run(running, "rebuild", ONE, "--rollback").returncode == 0
    assert provision(running) == []
