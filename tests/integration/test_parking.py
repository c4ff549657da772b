"""Parking: a failing event stops its own subject, in one projection, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis.codec import MemoryKeyStore
from epicrisis.errors import Unreachable
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.parking import retry_one
from epicrisis.settings import Settings
from schemas.chart import ResourceRetracted
from tests.kernel_support import Desk, MemoryLog, Probe, counted, note, own_namespace, trails

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@pytest.fixture
def probe(cluster: Settings) -> Probe:
    return Probe(cluster)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(MemoryKeyStore())


@pytest.fixture
def desk(cluster: Settings, log: MemoryLog) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(*probes: Probe) -> Desk:
        made.append(Desk(cluster, log, [ProjectionFollower(p.projection) for p in probes]))
        return made[-1]

    yield make
    for one in made:
        one.close()


def queue(cluster: Settings, probe: Probe) -> list[tuple[UUID, int, str]]:
    with psycopg.connect(cluster.dsn_for("cluster", "auditor")) as connection:
        return connection.execute(
            "SELECT subject, seq, reason FROM projection.parked WHERE consumer = %s ORDER BY id",
            (probe.projection.schema,),
        ).fetchall()


def retry(one: Desk, subject: UUID, at: int = 0) -> int:
    return retry_one(one.store, one.consumers[at], subject, one.decoder, one.log.missing)


def test_a_failing_event_parks_its_subject_alone(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    ill, well = uuid4(), uuid4()
    probe.broken.add("boom")
    for text in ("0", "boom", "2"):
        log.add(ill, note(text))
        log.add(well, note(text.replace("boom", "1")))
    log.add(ill, note("3"))
    desk(probe).follow()
    assert trails(cluster, probe) == {ill: ("0;", True), well: ("0;1;2;", False)}
    assert queue(cluster, probe) == [(ill, 2, "evolve: LookupError"), (ill, 3, "queued"), (ill, 4, "queued")]


def test_later_events_of_a_parked_subject_queue_in_later_batches_too(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    ill = uuid4()
    probe.broken.add("boom")
    for text in ("0", "boom", "2", "3"):
        log.add(ill, note(text))
    one = desk(probe)
    one.follow(batch=1)
    assert trails(cluster, probe) == {ill: ("0;", True)}
    assert [seq for _, seq, _ in queue(cluster, probe)] == [2, 3, 4]
    one.deliver(log.records)  # delivered again: queued once
    assert [seq for _, seq, _ in queue(cluster, probe)] == [2, 3, 4]


def test_a_retry_replays_the_queue_in_order(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    ill = uuid4()
    probe.broken.add("boom")
    for text in ("0", "boom", "2", "3", "4"):
        log.add(ill, note(text))
    one = desk(probe)
    one.follow()
    assert retry(one, ill) == 4
    assert trails(cluster, probe) == {ill: ("0;", True)}
    probe.broken.clear()
    assert retry(one, ill) == 0
    assert trails(cluster, probe) == {ill: ("0;boom;2;3;4;", False)}
    assert counted(cluster, probe) == {"charite/gyn": 5}
    assert queue(cluster, probe) == []
    log.add(ill, note("5"))
    one.follow()
    assert trails(cluster, probe) == {ill: ("0;boom;2;3;4;5;", False)}


def test_what_comes_behind_a_failed_event_does_not_move_past_it(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    """Even where it touches nothing: a position past the failed event would call it known, and drop it at the retry."""
    ill, well = uuid4(), uuid4()
    probe.broken.add("boom")
    log.add(ill, note("0"))
    log.add(ill, note("boom"))
    nothing = ResourceRetracted(resource_type="Observation", resource_id="o", resource_version=1, resource=b"")
    log.add(ill, nothing)
    log.add(well, nothing)
    log.add(ill, note("3"))
    one = desk(probe)
    one.follow()
    assert [seq for _, seq, _ in queue(cluster, probe)] == [2, 3, 4]
    probe.broken.clear()
    assert retry(one, ill) == 0
    assert trails(cluster, probe) == {ill: ("0;boom;3;", False)}


def test_a_retry_stops_at_the_next_failure_and_says_why(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    ill = uuid4()
    probe.broken |= {"boom", "bang"}
    for text in ("boom", "1", "bang", "3"):
        log.add(ill, note(text))
    one = desk(probe)
    one.follow()
    probe.broken.remove("boom")
    assert retry(one, ill) == 2
    assert queue(cluster, probe) == [(ill, 3, "evolve: LookupError"), (ill, 4, "queued")]
    assert trails(cluster, probe) == {ill: ("boom;1;", True)}


def test_what_fails_in_one_projection_goes_on_in_another(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    other, ill = Probe(cluster), uuid4()
    probe.broken.add("boom")
    for text in ("0", "boom", "2"):
        log.add(ill, note(text))
    one = desk(probe, other)
    one.follow()
    assert trails(cluster, probe) == {ill: ("0;", True)}
    assert trails(cluster, other) == {ill: ("0;boom;2;", False)}
    probe.broken.clear()
    retry(one, ill)
    assert trails(cluster, probe) == trails(cluster, other)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (2**70, "too large for the column"),
        (1_000_000, "refused by a constraint"),
        (None, "missing in a NOT NULL column"),
        ("many", "of another type than the column"),
        (1.5, "of another type than the column"),
        (object(), "of no type that a column has"),
    ],
)
def test_a_row_that_the_database_refuses_parks_its_subject_alone(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], value: Any, what: str
) -> None:
    subjects = [uuid4() for _ in range(7)]
    for n in range(3):
        for subject in subjects:
            log.add(subject, note("odd" if (n, subject) == (1, subjects[3]) else str(n)))
    probe.odd["odd"] = value
    one = desk(probe)
    one.follow(batch=7)
    found = trails(cluster, probe)
    assert {s: found[s] for s in subjects if s != subjects[3]} == {
        s: ("0;1;2;", False) for s in subjects if s != subjects[3]
    }
    assert {subject for subject, _, _ in queue(cluster, probe)} == {subjects[3]}
    probe.odd.clear()
    assert retry(one, subjects[3]) == 0
    assert trails(cluster, probe)[subjects[3]] == ("0;odd;2;", False)
    assert counted(cluster, probe) == {"charite/gyn": 21}, "nobody is counted twice by the search for the culprit"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("small", 2**15),
        ("small", -(2**15) - 1),
        ("small", 2**40 + 7),
        ("whole", 2**31),
        ("whole", -(2**31) - 1),
        ("whole", 2**70),
        ("several", (1, 2**31)),
    ],
)
def test_a_number_that_is_too_long_for_its_column_is_never_cut(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], column: str, value: Any
) -> None:
    ill, well = uuid4(), uuid4()
    probe.odd_column, probe.odd["odd"] = column, value
    for subject in (well, ill):
        log.add(subject, note("0"))
    log.add(ill, note("odd"))
    log.add(well, note("1"))
    desk(probe).follow(batch=1)
    assert trails(cluster, probe) == {ill: ("0;", True), well: ("0;1;", False)}
    assert queue(cluster, probe) == [(ill, 2, "write: OverflowError")]


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31)])
def test_the_longest_number_of_its_column_is_written(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], value: int
) -> None:
    probe.odd_column, probe.odd["odd"] = "whole", value
    log.add(uuid4(), note("odd"))
    desk(probe).follow()
    with psycopg.connect(cluster.dsn_for("cluster", "auditor")) as connection:
        assert connection.execute(f"SELECT whole FROM read.{probe.projection.name}").fetchall() == [(value,)]


def test_a_text_that_postgresql_refuses_parks_its_subject_alone(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    ill, well = uuid4(), uuid4()
    log.add(ill, note("a\x00b"))
    log.add(well, note("0"))
    desk(probe).follow()
    assert trails(cluster, probe) == {well: ("0;", False)}
    assert [subject for subject, _, _ in queue(cluster, probe)] == [ill]


def test_a_key_that_is_too_long_for_an_index_holds_nobody_else_up(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    """PostgreSQL reports it in the class of errors that usually pass by themselves."""
    ill, well = uuid4(), uuid4()
    unlike = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(4000))
    log.add(ill, note("0"), clinic=f"charite/{unlike}")
    log.add(well, note("0"))
    desk(probe).follow()
    assert trails(cluster, probe)[well] == ("0;", False)
    assert [subject for subject, _, _ in queue(cluster, probe)] == [ill]


def test_an_event_that_arrives_while_its_subject_is_retried_is_not_left_behind(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    """The worker has seen the subject parked; before it queues the next event, a retry empties the queue."""
    ill = uuid4()
    probe.broken.add("boom")
    log.add(ill, note("boom"))
    working, retrying = desk(probe), desk(probe)
    working.follow()
    probe.broken.clear()
    log.add(ill, note("1"))
    left: list[int] = []
    thread = threading.Thread(target=lambda: left.append(retry(retrying, ill)))
    apply = working.consumers[0].apply

    def slowly(*arguments: Any) -> Any:
        thread.start()
        thread.join(1)  # where the retry waits for the worker, it comes after it
        return apply(*arguments)

    log.add(uuid4(), note("0"))
    working.consumers[0].apply = slowly  # type: ignore[method-assign]
    working.deliver(log.records[1:])
    thread.join()
    if left != [0]:
        retry(retrying, ill)
    assert queue(cluster, probe) == []
    assert trails(cluster, probe)[ill] == ("boom;1;", False)


def test_an_incomplete_subject_shows_and_its_counters_do_too(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk]
) -> None:
    ill = uuid4()
    probe.broken.add("boom")
    for text in ("0", "boom"):
        log.add(ill, note(text))
    desk(probe).follow()
    with psycopg.connect(cluster.dsn_for("cluster", "auditor")) as connection:
        rows = connection.execute(f"SELECT incomplete FROM read.{probe.projection.name}_counts").fetchall()
    assert rows == [(True,)]


@pytest.mark.parametrize("how", ["garbage", "another schema", "the journal is gone", "the database is gone"])
def test_a_gap_that_cannot_be_filled_keeps_its_subject_parked_and_holds_up_nobody(
    cluster: Settings, log: MemoryLog, probe: Probe, desk: Callable[..., Desk], how: str
) -> None:
    subjects = sorted(uuid4() for _ in range(5))
    ill = subjects[2]
    for subject in subjects:
        log.add(subject, note("0"))
        log.add(subject, note("1"), withheld=True)
        log.add(subject, note("2"))
    one = desk(probe)
    good = log.values[ill, "chart"][1]
    bad = {"garbage": b"garbage", "another schema": good[:1] + b"9999" + good[5:]}
    log.values[ill, "chart"][1] = bad.get(how, good)
    fetch = one.worker._missing

    def missing(subject: UUID, *place: Any) -> list[bytes]:
        if subject == ill and how == "the journal is gone":
            raise Unreachable
        if subject == ill and how == "the database is gone":
            raise psycopg.OperationalError("gone")
        return fetch(subject, *place)

    one.worker._missing = missing
    one.follow()
    one.heal()
    found = trails(cluster, probe)
    assert found == {s: ("0;", True) if s == ill else ("0;1;2;", False) for s in subjects}
    reason = {"garbage": "not_framed", "another schema": "unknown_schema"}.get(how, "gap")
    assert queue(cluster, probe) == [(ill, 3, reason)]
    log.values[ill, "chart"][1] = good
    assert retry(one, ill) == 0
    assert trails(cluster, probe)[ill] == ("0;1;2;", False)
