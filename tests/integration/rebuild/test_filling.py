"""Rebuild: a new generation holds what the live one should, whatever fails or dies while it is filled."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest

from epicrisis.errors import EpicrisisError
from epicrisis.projecting.parking import retry_one
from epicrisis.rebuild.building import remove
from epicrisis.settings import Settings
from tests.integration.rebuild.site import CLINICS, Site, tell
from tests.kernel_support import MemoryLog, note, trails

pytestmark = pytest.mark.servers


def test_a_new_generation_equals_the_live_one(site: Site, log: MemoryLog) -> None:
    tell(log)
    site.follow()
    new = site.begin()
    assert site.fill(new) == 120
    assert site.fill(new) == 0
    site.finish(new)
    tables = site.compare(new)
    assert [(t.new.rows, t.differs, t.changed) for t in tables] == [(30, False, 0), (2, False, 0)]
    positions = "SELECT subject, seqs FROM projection.position WHERE consumer = %s ORDER BY 1"
    assert site.rows(positions, new.schema) == site.rows(positions, site.live.schema)


def test_it_has_every_index_right_and_policy_of_the_live_one(site: Site, log: MemoryLog) -> None:
    tell(log, 3)
    site.follow()
    new = site.built()
    shape = (
        "SELECT replace(indexdef, %s, '') FROM pg_indexes WHERE schemaname = %s UNION ALL "
        "SELECT relname || relacl::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = %s AND relkind IN ('r', 'v') ORDER BY 1"
    )
    live = site.rows(shape, site.live.schema, site.live.schema, site.live.schema)
    assert len(live) == 6
    assert site.rows(shape, new.schema, new.schema, new.schema) == live


def test_two_rebuilds_are_equal_whatever_the_parts(site: Site, log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(log)
    site.follow()
    found = []
    for parts in ([(0, 1023)], [(0, 511), (512, 1023)], [(n, n + 31) for n in range(0, 1024, 32)]):
        monkeypatch.setattr("epicrisis.rebuild.building.divided", lambda _, parts=parts: parts)
        new = site.built()
        found.append(site.digests(new))
        assert not site.queue(new)
        with site.database.transaction() as cur:
            remove(cur, new.schema)
    assert found[0] == found[1] == found[2] == site.digests(site.live)


def test_nothing_is_lost_or_doubled_where_the_ledger_ends_and_the_log_begins(site: Site, log: MemoryLog) -> None:
    """Events come in before, while and after it is filled; some subjects are new, some known."""
    some = tell(log, 20)
    site.follow()
    new = site.begin()
    more = [*some[:5], *(uuid4() for _ in range(5))]
    for subject in more:
        log.add(subject, note("meanwhile"))
    site.follow()
    filler = site.filler(new)
    filler.step()
    for subject in more:
        log.add(subject, note("between two parts"))
    site.follow()
    while filler.step() is not None:
        pass
    filler.close()
    for subject in more:
        log.add(subject, note("afterwards"))
    site.finish(new)
    site.follow()
    with pytest.raises(EpicrisisError, match="behind the other"):
        site.compare(new)
    site.follow(new)
    assert [t.differs for t in site.compare(new)] == [False, False]
    for subject in more:
        log.add(subject, note("together"))
    site.follow(new)
    assert [t.differs for t in site.compare(new)] == [False, False]
    assert site.digests(new)[0].rows == 25


def test_a_filler_that_dies_has_done_nothing(site: Site, log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(log)
    site.follow()
    new = site.begin()
    left = len(site.rows("SELECT first FROM projection.part WHERE schema = %s", new.schema))
    assert left > 4
    from epicrisis.rebuild import fill

    sound = fill.Target.write

    def dies(self: Any, *args: Any, **more: Any) -> None:
        sound(self, *args, **more)
        raise InterruptedError

    for _ in range(3):
        monkeypatch.setattr(fill.Target, "write", dies)
        filler = site.filler(new)
        with pytest.raises(InterruptedError):
            filler.step()
        filler.close()
        monkeypatch.setattr(fill.Target, "write", sound)
        filler = site.filler(new)
        filler.step()
        filler.close()
    assert (
        len(site.rows("SELECT first FROM projection.part WHERE schema = %s AND events IS NULL", new.schema)) == left - 3
    )
    site.fill(new)
    site.finish(new)
    assert [t.differs for t in site.compare(new)] == [False, False]


def test_several_fillers_share_the_parts(site: Site, log: MemoryLog) -> None:
    tell(log, 60)
    site.follow()
    new = site.begin()
    events: list[int] = []
    threads = [threading.Thread(target=lambda: events.append(site.fill(new))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(events) == 240
    site.finish(new)
    assert [t.differs for t in site.compare(new)] == [False, False]


def test_several_generations_are_filled_in_one_reading(site: Site, log: MemoryLog, cluster: Settings) -> None:
    other = Site(cluster, log)
    tell(log)
    site.follow(other.live)
    new, its = site.begin(), other.begin()
    assert site.fill(new, its) == 120
    site.finish(new)
    other.finish(its)
    assert site.digests(new) == other.digests(its) == site.digests(site.live)
    other.close()


# What fails


def test_a_failing_event_parks_its_subject_as_a_worker_would(site: Site, log: MemoryLog) -> None:
    site.probe.broken.add("boom")
    ill, well = uuid4(), uuid4()
    for text in ("0", "boom", "2"):
        log.add(ill, note(text))
        log.add(well, note(text.replace("boom", "1")))
    site.follow()
    new = site.built()
    assert (
        site.queue(new)
        == site.queue(site.live)
        == [
            (ill, "chart", 2, "evolve: LookupError"),
            (ill, "chart", 3, "queued"),
        ]
    )
    assert [t.differs for t in site.compare(new)] == [False, False]
    site.probe.broken.clear()
    site.follow(new)
    desk = site.desks[-1]
    for consumer in desk.consumers[1:]:
        assert retry_one(desk.store, consumer, ill, desk.decoder, log.missing) == 0
    assert [t.differs for t in site.compare(new)] == [False, False]
    assert site.digests(new)[0].rows == 2


@pytest.mark.parametrize(
    ("column", "value"), [("number", 10**9), ("small", 40_000), ("whole", 2**31), ("several", (1, 2**40))]
)
def test_a_row_that_cannot_be_written_parks_its_subject_alone(
    site: Site, log: MemoryLog, column: str, value: Any
) -> None:
    some = tell(log, 10, 2)
    site.probe.odd_column = column
    site.probe.odd["odd"] = value
    log.add(some[3], note("odd"))
    site.follow()
    new = site.built()
    assert [(subject, seq) for subject, _, seq, _ in site.queue(new)] == [(some[3], seq) for seq in (1, 2, 3)]
    assert site.queue(new)[0][3].startswith("write: ")
    site.probe.odd.clear()
    site.follow(new)
    desk = site.desks[-1]
    for consumer in desk.consumers[1:]:
        assert retry_one(desk.store, consumer, some[3], desk.decoder, log.missing) == 0
    assert [t.differs for t in site.compare(new)] == [False, False]


def test_what_the_ledger_waits_for_the_new_generation_waits_for_too(site: Site, log: MemoryLog) -> None:
    """No later event may ever come: it must know by itself that something is missing."""
    subject = uuid4()
    log.add(subject, note("0"))
    log.add(subject, note("1"), withheld=True)
    log.add(subject, note("2"))
    site.follow()
    new = site.built()
    assert site.queue(new) == [(subject, "chart", 3, "gap")]
    site.follow(new)
    site.desks[-1].heal()
    assert site.queue(new) == []
    assert [t.differs for t in site.compare(new)] == [False, False]
    assert trails(site.settings, site.probe)[subject] == ("0;1;2;", False)


def test_many_parked_subjects_stop_the_rebuild(site: Site, log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    from epicrisis.projecting import parking

    for _ in range(3):
        log.add(uuid4(), note("boom"))
    site.follow()
    new = site.begin()
    monkeypatch.setattr(parking.too_many, "__defaults__", (2,))
    site.probe.broken.add("boom")
    with pytest.raises(EpicrisisError, match="that is a bug, not bad data"):
        site.fill(new)


def test_a_wrong_row_shows(site: Site, log: MemoryLog) -> None:
    some = tell(log)
    site.follow()
    site.rows(f"UPDATE {site.live.schema}.{site.live.name} SET trail = 'forged' WHERE subject = %s", some[0])
    site.rows(f"UPDATE {site.live.schema}.counts SET events = events + 1 WHERE clinic = %s", CLINICS[0])
    tables = site.compare(site.built())
    assert [(t.differs, t.changed) for t in tables] == [(True, 1), (True, 1)]


def test_a_missing_row_shows(site: Site, log: MemoryLog) -> None:
    some = tell(log)
    site.follow()
    site.rows(f"DELETE FROM {site.live.schema}.{site.live.name} WHERE subject = %s", some[0])
    tables = site.compare(site.built())
    assert [(t.live and t.live.rows, t.new.rows, t.changed) for t in tables] == [(29, 30, 1), (2, 2, 0)]


def test_a_generation_that_missed_something_is_not_read(site: Site, log: MemoryLog) -> None:
    some = tell(log)
    site.follow()
    new = site.built()
    site.rows(
        "UPDATE projection.position SET seqs = '{\"chart\": 3}' WHERE consumer = %s AND subject = %s",
        new.schema,
        some[0],
    )
    with pytest.raises(EpicrisisError, match="lacks events of 1 subjects"):
        site.compare(new)
