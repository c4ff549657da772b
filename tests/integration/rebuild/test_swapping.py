"""Rebuild: swapping, one subject in place, another version."""

from __future__ import annotations

import threading
from uuid import uuid4

import psycopg
import pytest

from epicrisis.errors import EpicrisisError, Refused, Zombie
from epicrisis.projecting.generations import generations
from epicrisis.projection import Projection
from epicrisis.provision.postgres import roles_of
from epicrisis.rebuild.building import remove
from epicrisis.rebuild.swap import compared_in_one_snapshot, swap
from tests.integration.rebuild.site import CLINICS, PATIENT, Site, tell
from tests.kernel_support import MemoryLog, counted, note, trails

pytestmark = pytest.mark.servers


# Swapping


def test_nobody_reads_it_before_the_swap_and_everybody_after(site: Site, log: MemoryLog) -> None:
    some = tell(log, 5)
    site.follow()
    site.rows(f"UPDATE {site.live.schema}.{site.live.name} SET trail = 'forged'")
    new = site.built()
    assert {trail for trail, _ in trails(site.settings, site.probe).values()} == {"forged"}
    site.swap(new)
    assert trails(site.settings, site.probe) == dict.fromkeys(some, ("0;1;2;3;", False))
    assert counted(site.settings, site.probe) == dict.fromkeys(CLINICS, 10)
    with site.database.transaction() as cur:
        states = {g.schema: g.state for g in generations(cur, site.live.name)}
    assert states == {new.schema: "live", site.live.schema: "retired"}
    site.swap(site.live, new)
    assert {trail for trail, _ in trails(site.settings, site.probe).values()} == {"forged"}


def test_readers_never_fail_while_it_is_swapped_again_and_again(site: Site, log: MemoryLog) -> None:
    tell(log)
    site.follow()
    new = site.built()
    stop, reads = threading.Event(), []
    view = f"read.{site.live.name}"

    def read() -> None:
        with psycopg.connect(site.settings.dsn_for("cluster", "auditor"), options=PATIENT) as connection:
            while not stop.is_set():
                one = connection.execute(f"SELECT count(*) FROM {view}".encode()).fetchone()
                other = connection.execute(f"SELECT sum(events) FROM {view}_counts".encode()).fetchone()
                reads.append((one, other))
                connection.rollback()

    errors = []

    def guarded() -> None:
        try:
            read()
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=guarded) for _ in range(3)]
    for reader in readers:
        reader.start()
    live = site.live
    for _ in range(20):
        site.swap(new, live)
        live, new = new, live
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert len(reads) > 20
    assert set(reads) == {((30,), (120,))}


def test_a_swap_waits_for_a_reader_without_making_others_wait(site: Site, log: MemoryLog) -> None:
    tell(log, 3)
    site.follow()
    new = site.built()
    view = f"SELECT count(*) FROM read.{site.live.name}".encode()
    with psycopg.connect(site.settings.dsn_for("cluster", "auditor"), options=PATIENT) as slow:
        slow.execute(view)
        swapping = threading.Thread(target=site.swap, args=(new,))
        swapping.start()
        for _ in range(5):
            with psycopg.connect(site.settings.dsn_for("cluster", "auditor")) as other:
                other.execute("SET statement_timeout = '2s'")
                assert other.execute(view).fetchone() == (3,)
        assert swapping.is_alive()
    swapping.join()
    assert trails(site.settings, site.probe)


def test_a_swap_that_never_gets_its_turn_says_so_and_changes_nothing(site: Site, log: MemoryLog) -> None:
    tell(log, 3)
    site.follow()
    new = site.built()
    with psycopg.connect(site.settings.dsn_for("cluster", "auditor"), options=PATIENT) as slow:
        slow.execute(f"SELECT count(*) FROM read.{site.live.name}".encode())
        with pytest.raises(EpicrisisError, match="somebody reads"):
            swap(site.database, roles_of(site.settings), live=site.live.schema, new=new.schema, seconds=0)
    with site.database.transaction() as cur:
        assert {g.state for g in generations(cur, site.live.name)} == {"live", "building"}


def test_a_dropped_generation_ends_nobody_elses_work(site: Site, log: MemoryLog) -> None:
    tell(log, 3)
    site.follow()
    new = site.built()
    site.follow(new)
    desk = site.desks[-1]
    with site.database.transaction() as cur:
        remove(cur, new.schema)
    log.add(uuid4(), note("late"))
    with pytest.raises(Zombie):
        desk.deliver(log.records[-1:])
    site.follow()
    assert site.digests(site.live)[0].rows == 4
    for table in ("offset", "position", "parked"):
        assert not site.rows(f"SELECT consumer FROM projection.{table} WHERE consumer = %s", new.schema)


# One subject


def test_one_subjects_rows_are_made_anew_in_place(site: Site, log: MemoryLog) -> None:
    some = tell(log)
    site.follow()
    sound = site.digests(site.live)
    site.rows(f"UPDATE {site.live.schema}.{site.live.name} SET trail = 'forged' WHERE subject = ANY(%s)", some[:2])
    assert site.mend(some[0]) == (site.live.name, 1, 1, True, 0)
    assert site.mend(some[0]) == (site.live.name, 1, 1, False, 0)
    assert trails(site.settings, site.probe)[some[0]] == ("0;1;2;3;", False)
    assert trails(site.settings, site.probe)[some[1]] == ("forged", False)
    site.rows(f"DELETE FROM {site.live.schema}.{site.live.name} WHERE subject = %s", some[1])
    assert site.mend(some[1]) == (site.live.name, 0, 1, True, 0)
    assert site.digests(site.live) == sound
    log.add(some[0], note("later"))
    site.follow()
    assert trails(site.settings, site.probe)[some[0]] == ("0;1;2;3;later;", False)
    assert sum(counted(site.settings, site.probe).values()) == 121


def test_a_parked_subject_is_freed_and_its_increments_count_once(site: Site, log: MemoryLog) -> None:
    site.probe.broken.add("boom")
    ill = uuid4()
    for text in ("0", "boom", "2"):
        log.add(ill, note(text))
    site.follow()
    assert site.mend(ill) == (site.live.name, 1, 1, False, 2)
    assert [seq for _, _, seq, _ in site.queue(site.live)] == [2, 3]
    site.probe.broken.clear()
    assert site.mend(ill) == (site.live.name, 1, 1, True, 0)
    assert site.queue(site.live) == []
    log.add(ill, note("3"))
    site.follow()
    assert trails(site.settings, site.probe) == {ill: ("0;boom;2;3;", False)}
    assert counted(site.settings, site.probe) == {CLINICS[0]: 4}


def test_rows_are_not_replaced_by_less(site: Site, log: MemoryLog) -> None:
    (subject,) = tell(log, 1, 3)
    site.follow()
    before = site.digests(site.live)
    site.probe.broken.add("1")
    with pytest.raises(Refused, match="chart 2 of this history was applied once and cannot be any more"):
        site.mend(subject)
    site.probe.broken.clear()
    site.rows("DELETE FROM ledger.event WHERE seq = 3")
    with pytest.raises(EpicrisisError, match="the ledger is behind"):
        site.mend(subject)
    with pytest.raises(Refused, match="knows no such patient"):
        site.mend(uuid4())
    assert site.digests(site.live) == before


# Another version


def test_another_version_is_filled_beside_the_live_one(site: Site, log: MemoryLog) -> None:
    some = tell(log, 4)
    site.follow()
    bumped = Projection(name=site.live.name, version=2, scope=site.live.scope)
    bumped.tables, bumped.handlers, bumped.exempt = site.live.tables, site.live.handlers, site.live.exempt
    site.probe.tables = site.probe.tables.replace("several integer[] NOT NULL", "several integer[] NOT NULL, x text")
    new = site.begin(bumped)
    site.fill(new)
    site.finish(new)
    assert new.schema.startswith(f"{site.live.name}_v2_g")
    view = f"SELECT * FROM read.{site.live.name}"
    with psycopg.connect(site.settings.dsn_for("cluster", "auditor")) as connection:
        before = [c.name for c in connection.execute(view.encode()).description or ()]
    assert "x" not in before
    tables = compared_in_one_snapshot(site.database, None, site.live.schema, new, seconds=0)
    assert [(t.live, t.new.rows, t.differs) for t in tables] == [(None, 4, False), (None, 2, False)]
    site.swap(new)
    with psycopg.connect(site.settings.dsn_for("cluster", "auditor")) as connection:
        assert "x" in [c.name for c in connection.execute(view.encode()).description or ()]
    assert set(trails(site.settings, site.probe)) == set(some)
    site.swap(site.live, new)
    with psycopg.connect(site.settings.dsn_for("cluster", "auditor")) as connection:
        assert [c.name for c in connection.execute(view.encode()).description or ()] == before
