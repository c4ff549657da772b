"""Rebuild: a new generation holds what the live one should, whatever happens while it is made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis.assembly import codec
from epicrisis.codec import MemoryKeyStore
from epicrisis.database import Database
from epicrisis.errors import EpicrisisError, Refused, Zombie
from epicrisis.ledger import LedgerFollower
from epicrisis.projecting.digest import columns_of, content, digest
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.generations import LIVE, generations, register
from epicrisis.projection import Projection
from epicrisis.provision.postgres import roles_of
from epicrisis.rebuild.building import begin, finish, remove
from epicrisis.rebuild.fill import Filler
from epicrisis.rebuild.subject import Mended, mend
from epicrisis.rebuild.swap import Compared, compared_in_one_snapshot, swap
from epicrisis.settings import Settings
from epicrisis.worker import retry_one
from tests.kernel_support import Desk, MemoryLog, Probe, counted, note, own_namespace, trails

pytestmark = pytest.mark.servers
CLINICS = ("charite/gyn", "amc/onc")
PATIENT = "-c idle_in_transaction_session_timeout=0"
"""A test may be stopped for a while, and go on."""


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@pytest.fixture(autouse=True)
def empty(cluster: Settings) -> None:
    """A ledger of the test's own."""
    with psycopg.connect(cluster.admin_dsn(cluster.database("cluster"))) as connection:
        connection.execute(
            "TRUNCATE ledger.event, ledger.subject, projection.offset, projection.position, projection.parked"
        )


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(MemoryKeyStore())


class Site:
    """The ledger and a probe, live; and a new generation of that in the making."""

    def __init__(self, settings: Settings, log: MemoryLog) -> None:
        self.settings, self.log = settings, log
        self.probe = Probe(settings)
        self.live = self.probe.projection
        self.database = Database(settings.dsn_for("cluster", "rebuilder"), size=2)
        with self.database.transaction() as cur:
            register(cur, self.live, LIVE)
        self.desks: list[Desk] = []

    def follow(self, *more: Projection, batch: int = 7) -> None:
        """A worker, from where it was to the end of the log."""
        desk = Desk(self.settings, self.log, [LedgerFollower(), *map(ProjectionFollower, (self.live, *more))])
        self.desks.append(desk)
        desk.follow(batch)

    def begin(self, projection: Projection | None = None) -> Projection:
        with self.database.transaction() as cur:
            return begin(cur, projection or self.live, self.probe.tables)

    def filler(self, *new: Projection) -> Filler:
        return Filler(
            self.settings.dsn_for("cluster", "rebuilder"),
            new,
            codec=codec(),
            keys=self.log.keys,
            partitions=self.settings.partitions,
        )

    def fill(self, *new: Projection) -> int:
        """Everything that is left; how many events."""
        filler, events = self.filler(*new), 0
        while (some := filler.step()) is not None:
            events += some
        filler.close()
        return events

    def finish(self, *new: Projection) -> None:
        for one in new:
            with self.database.transaction() as cur:
                finish(cur, one, None, roles_of(self.settings))

    def built(self) -> Projection:
        new = self.begin()
        self.fill(new)
        self.finish(new)
        return new

    def compare(self, new: Projection, live: Projection | None = None) -> list[Compared]:
        live = live or self.live
        return compared_in_one_snapshot(self.database, live, live.schema, new, seconds=0)

    def swap(self, new: Projection, live: Projection | None = None) -> None:
        swap(self.database, roles_of(self.settings), live=(live or self.live).schema, new=new.schema, seconds=5)

    def digests(self, one: Projection) -> list[Any]:
        with self.database.transaction() as cur:
            return [digest(cur, content(one, table), columns_of(table)) for table in one.tables.values()]

    def mend(self, subject: UUID) -> Mended:
        worker = Database(self.settings.dsn_for("cluster", "worker"), size=1)
        try:
            return mend(worker, self.live, subject, codec(), self.log.keys, self.settings.partitions)
        finally:
            worker.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.admin_dsn(self.settings.database("cluster")), autocommit=True) as admin:
            cursor = admin.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def queue(self, one: Projection) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT subject, source, seq, reason FROM projection.parked WHERE consumer = %s ORDER BY id", one.schema
        )

    def close(self) -> None:
        for desk in self.desks:
            desk.close()
        self.database.close()


@pytest.fixture
def site(cluster: Settings, log: MemoryLog) -> Iterator[Site]:
    made = Site(cluster, log)
    yield made
    made.close()


def tell(log: MemoryLog, subjects: int = 30, each: int = 4) -> list[UUID]:
    """Histories of so many subjects, mixed, from two clinics."""
    some = [uuid4() for _ in range(subjects)]
    for n in range(each):
        for at, subject in enumerate(some):
            log.add(subject, note(str(n)), clinic=CLINICS[(n + at) % 2])
    return some


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
