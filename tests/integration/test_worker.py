"""The worker: exactly once under redelivery and restarts, zombies lose, every consumer has an offset of its own."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis.audit.chain import first_link, next_link
from epicrisis.codec import MemoryKeyStore
from epicrisis.errors import EpicrisisError, Zombie
from epicrisis.ledger import LedgerFollower, history
from epicrisis.projecting.delivery import Consumer, Delivered, Failure
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.store import Transaction
from epicrisis.settings import Settings
from tests.kernel_support import Desk, MemoryLog, Probe, counted, note, own_namespace, trails

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@pytest.fixture
def admin(cluster: Settings) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cluster.admin_dsn(cluster.database("cluster")), autocommit=True) as connection:
        yield connection


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(MemoryKeyStore())


@pytest.fixture
def probe(cluster: Settings) -> Probe:
    return Probe(cluster)


class Ledger(LedgerFollower):
    """The ledger under a name, and so with offsets, of a test's own."""

    def __init__(self) -> None:
        self.name = f"ledger_{uuid4().hex[:6]}"


@pytest.fixture
def desk(cluster: Settings, log: MemoryLog) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(*consumers: Consumer) -> Desk:
        made.append(Desk(cluster, log, consumers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def follower(probe: Probe) -> ProjectionFollower:
    return ProjectionFollower(probe.projection)


def next_offset(admin: psycopg.Connection[Any], consumer: str) -> int:
    row = admin.execute("SELECT next_offset FROM projection.offset WHERE consumer = %s", (consumer,)).fetchone()
    assert row
    return int(row[0])


def test_records_that_come_twice_are_applied_once(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    subjects = [uuid4() for _ in range(5)]
    for n in range(4):
        for subject in subjects:
            log.add(subject, note(str(n)))
    one = desk(follower(probe))
    one.take()
    for at in (0, 0, 3, 7, 5, 12, 0):
        one.deliver(log.records[at : at + 9])
    one.deliver(log.records)
    assert trails(cluster, probe) == dict.fromkeys(subjects, ("0;1;2;3;", False))
    assert counted(cluster, probe) == {"charite/gyn": 20}


def test_a_relay_that_sends_again_changes_nothing(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    """The same event at another offset."""
    subject = uuid4()
    first = [log.add(subject, note(str(n))) for n in range(3)]
    for record in first:
        log.put(record.key, record.value)
    log.add(subject, note("3"))
    desk(follower(probe)).follow(batch=2)
    assert trails(cluster, probe) == {subject: ("0;1;2;3;", False)}
    assert counted(cluster, probe) == {"charite/gyn": 4}


@pytest.mark.parametrize("seed", range(4))
def test_any_batches_and_any_crashes_end_in_the_same_rows(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], seed: int
) -> None:
    chance = random.Random(seed)
    subjects = [uuid4() for _ in range(6)]
    told: dict[UUID, str] = dict.fromkeys(subjects, "")
    for n in range(40):
        subject = chance.choice(subjects)
        log.add(subject, note(str(n)), clinic=chance.choice(["charite/gyn", "amc/onc"]))
        told[subject] += f"{n};"
        if chance.random() < 0.2:
            again = chance.choice(log.records)
            log.put(again.key, again.value)
    crashing = Crashing(follower(probe), chance)
    for _ in range(30):
        with suppress(InterruptedError):
            desk(crashing).follow(batch=chance.randint(1, 12))
    crashing.chance = None
    desk(crashing).follow()
    assert trails(cluster, probe) == {s: (text, False) for s, text in told.items() if text}
    assert sum(counted(cluster, probe).values()) == 40


class Crashing:
    """A consumer whose process dies, now before its work, now after it."""

    def __init__(self, inner: Consumer, chance: random.Random | None) -> None:
        self.inner, self.chance, self.name = inner, chance, inner.name

    def needs_body(self, event_type: str) -> bool:
        return self.inner.needs_body(event_type)

    def needs_resource(self, event_type: str) -> bool:
        return self.inner.needs_resource(event_type)

    def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        if self.chance and self.chance.random() < 0.1:
            raise InterruptedError
        failures = self.inner.apply(at, delivered, shard)
        if self.chance and self.chance.random() < 0.1:
            raise InterruptedError
        return failures


def test_a_worker_restarted_from_older_offsets_doubles_nothing(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], admin: Any
) -> None:
    subject = uuid4()
    for n in range(5):
        log.add(subject, note(str(n)))
    desk(follower(probe)).follow()
    admin.execute("UPDATE projection.offset SET next_offset = 1 WHERE consumer = %s", (probe.projection.schema,))
    again = desk(follower(probe))
    assert again.take() == 1
    again.follow()
    assert trails(cluster, probe) == {subject: ("0;1;2;3;4;", False)}
    assert next_offset(admin, probe.projection.schema) == 5


def test_a_zombie_changes_nothing(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], admin: Any
) -> None:
    subject = uuid4()
    for n in range(4):
        log.add(subject, note(str(n)))
    zombie, heir = desk(follower(probe)), desk(follower(probe))
    zombie.take()
    zombie.deliver(log.records[:2])
    assert heir.take() == 2
    with pytest.raises(Zombie):
        zombie.deliver(log.records[2:])
    assert trails(cluster, probe) == {subject: ("0;1;", False)}
    assert next_offset(admin, probe.projection.schema) == 2
    heir.deliver(log.records[2:])
    with pytest.raises(Zombie):
        zombie.deliver(log.records[2:])
    assert trails(cluster, probe) == {subject: ("0;1;2;3;", False)}
    assert counted(cluster, probe) == {"charite/gyn": 4}


def test_a_zombie_that_works_at_the_same_time_as_its_heir_changes_nothing(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    """The heir takes over while the zombie has written its rows and not yet committed."""
    subject = uuid4()
    for n in range(3):
        log.add(subject, note(str(n)))
    heir = desk(follower(probe))
    done = threading.Event()

    def overtake() -> None:
        heir.follow()
        done.set()

    class Slow(Crashing):
        def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
            failures = self.inner.apply(at, delivered, shard)
            thread.start()
            done.wait(1)  # the heir may have to wait for this transaction: that is fine too
            return failures

    zombie = desk(Slow(follower(probe), None))
    zombie.take()
    thread = threading.Thread(target=overtake)
    with suppress(Zombie, psycopg.OperationalError):
        zombie.deliver(log.records)
    thread.join()
    assert trails(cluster, probe) == {subject: ("0;1;2;", False)}
    assert counted(cluster, probe) == {"charite/gyn": 3}


def test_each_consumer_has_an_offset_of_its_own(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], admin: Any
) -> None:
    late = Probe(cluster)
    subject = uuid4()
    for n in range(4):
        log.add(subject, note(str(n)))
    desk(follower(probe)).follow()
    both = desk(follower(probe), follower(late))
    log.add(subject, note("4"))
    assert both.take() == 0
    both.deliver(log.records[:2])
    assert [next_offset(admin, p.projection.schema) for p in (probe, late)] == [4, 2]
    assert trails(cluster, late) == {subject: ("0;1;", False)}
    both.deliver(log.records[2:])
    assert [next_offset(admin, p.projection.schema) for p in (probe, late)] == [5, 5]
    assert trails(cluster, probe) == trails(cluster, late) == {subject: ("0;1;2;3;4;", False)}
    assert counted(cluster, probe) == counted(cluster, late) == {"charite/gyn": 5}


def test_the_ledger_chains_what_came_over_all_services(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    from schemas.registration import PatientShared

    ledger, subjects = Ledger(), [uuid4() for _ in range(3)]
    for n in range(5):
        for subject in subjects:
            log.add(subject, note(str(n)))
            if n % 2:
                log.add(subject, PatientShared(patient_id=str(subject), with_clinic="amc/onc"))
    log.put(log.records[0].key, log.records[0].value)
    one = desk(ledger, follower(probe))
    one.follow(batch=4)
    one.follow()
    for subject in subjects:
        with one.database.transaction() as cur:
            entries = history(cur, subject)
            stored = cur.execute("SELECT n, link FROM ledger.subject WHERE subject = %s", (subject,)).fetchone()
        link = first_link(subject)
        for n, entry in enumerate(entries, 1):
            link = next_link(link, entry.value)
            assert (entry.n, entry.link) == (n, link)
        assert stored == (7, link)
        on_the_log = [r.value for r in log.records[:-1] if r.key == subject.bytes]
        assert [entry.value for entry in entries] == on_the_log


def test_a_withheld_event_is_fetched_from_the_journal(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    ledger, subject, other = Ledger(), uuid4(), uuid4()
    log.add(subject, note("0"))
    log.add(subject, note("1"), withheld=True)
    log.add(subject, note("2"), withheld=True)
    log.add(subject, note("3"))
    log.add(other, note("0"))
    log.add(subject, note("4"))
    one = desk(ledger, follower(probe))
    one.follow(batch=2)
    assert trails(cluster, probe) == {subject: ("0;", True), other: ("0;", False)}
    one.heal()
    assert trails(cluster, probe) == {subject: ("0;1;2;3;4;", False), other: ("0;", False)}
    with one.database.transaction() as cur:
        assert [(e.n, e.seq) for e in history(cur, subject)] == [(n, n) for n in range(1, 6)]
    log.add(subject, note("5"))
    one.follow()
    assert trails(cluster, probe)[subject] == ("0;1;2;3;4;5;", False)


def test_a_late_event_fills_its_own_gap_without_a_double(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    subject = uuid4()
    log.add(subject, note("0"))
    late = log.add(subject, note("1"), withheld=True)
    log.add(subject, note("2"))
    log.put(late.key, late.value)
    log.add(subject, note("3"))
    one = desk(follower(probe))
    one.follow(batch=1)
    one.heal()
    assert trails(cluster, probe) == {subject: ("0;1;2;3;", False)}
    assert counted(cluster, probe) == {"charite/gyn": 4}


def test_what_the_journal_cannot_give_yet_goes_on_waiting(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    subject = uuid4()
    log.add(subject, note("0"), withheld=True)
    log.add(subject, note("1"))
    one = desk(follower(probe))
    kept, log.values = log.values, {}
    one.follow()
    one.heal()
    assert trails(cluster, probe) == {}
    log.values = kept
    one.heal()
    assert trails(cluster, probe) == {subject: ("0;1;", False)}


def test_so_many_parked_subjects_stop_the_worker(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    from epicrisis.projecting import parking

    monkeypatch.setattr(parking.too_many, "__defaults__", (2,))
    probe.broken.add("boom")
    for _ in range(3):
        log.add(uuid4(), note("boom"))
    with pytest.raises(EpicrisisError, match="that is a bug, not bad data"):
        desk(follower(probe)).follow()
