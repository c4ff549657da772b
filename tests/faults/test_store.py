"""The workers' store and the relay's side of a journal: the same contract in memory and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis.database import Database
from epicrisis.journal import Journal, MemoryJournal, MemoryOutgoing, Outgoing, PostgresJournal, PostgresOutgoing
from epicrisis.journal.outgoing import SHARES
from epicrisis.journal.outgoing import Move as CursorMove
from epicrisis.projecting.memory import MemoryStore
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.projecting.store import Archived, Move, Parked, Store
from epicrisis.projection import SHAPED_BY, Projection
from epicrisis.settings import Settings
from epicrisis.slices import slice_of
from tests.kernel_support import Count as Counted
from tests.kernel_support import Probe, Trail, append_of, counted, own_namespace

pytestmark = pytest.mark.servers
SERVICE = "referral"


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@dataclass
class Case:
    store: Store
    projection: Projection
    name: str


@pytest.fixture(params=["memory", "postgres"])
def case(request: pytest.FixtureRequest, cluster: Settings) -> Iterator[Case]:
    probe, name = Probe(cluster), f"c{uuid4().hex[:8]}"
    if request.param == "memory":
        yield Case(MemoryStore(), probe.projection, name)
        return
    database = Database(cluster.dsn_for("cluster", "worker"), size=1)
    yield Case(PostgresStore(database), probe.projection, name)
    database.close()


def test_offsets_move_only_under_their_epoch_and_from_where_they_were(case: Case) -> None:
    with case.store.transaction() as at:
        assert at.take([case.name], [0, 1]) == {(case.name, 0): (0, 1), (case.name, 1): (0, 1)}
    with case.store.transaction() as at:
        assert at.hold([case.name], [0, 1]) == {(case.name, 0): 1, (case.name, 1): 1}
        assert at.move([Move(case.name, 0, 0, 1, 5), Move(case.name, 1, 3, 1, 5)]) == 1
    with case.store.transaction() as at:
        assert at.take([case.name], [0]) == {(case.name, 0): (5, 2)}
    with case.store.transaction() as at:
        assert at.move([Move(case.name, 0, 5, 1, 9)]) == 0


def test_nothing_of_a_transaction_that_fails_is_left(case: Case) -> None:
    subject = uuid4()
    with suppress(InterruptedError), case.store.transaction() as at:
        at.take([case.name], [3])
        at.save_positions([(case.name, subject, {"chart": 4})])
        at.park(case.name, subject, Parked(0, 3, 1, "chart", 5, "gap", b"x"))
        raise InterruptedError
    with case.store.transaction() as at:
        assert at.hold([case.name], [3]) == {}
        assert at.positions([case.name], [subject]) == {}
        assert at.queue(case.name, subject) == []


def test_what_a_savepoint_undoes_leaves_the_rest(case: Case) -> None:
    subject = uuid4()
    with case.store.transaction() as at:
        at.save_positions([(case.name, subject, {"chart": 1})])
        with suppress(InterruptedError), at.savepoint():
            at.save_positions([(case.name, subject, {"chart": 2})])
            raise InterruptedError
    with case.store.transaction() as at:
        assert at.positions([case.name], [subject]) == {(case.name, subject): {"chart": 1}}


def test_a_queue_keeps_its_order_and_each_event_once(case: Case) -> None:
    subject = uuid4()
    with case.store.transaction() as at:
        for seq, reason in ((7, "gap"), (8, "queued"), (7, "queued"), (9, "queued")):
            at.park(case.name, subject, Parked(0, 2, 10 + seq, "chart", seq, reason, str(seq).encode()))
    with case.store.transaction() as at:
        queue = at.queue(case.name, subject)
        assert [(p.seq, p.reason, p.value) for p in queue] == [
            (7, "gap", b"7"),
            (8, "queued", b"8"),
            (9, "queued", b"9"),
        ]
        assert list(at.parked([case.name], [subject, uuid4()])) == [(case.name, subject)]
        assert at.parked_count(case.name) == 1
        assert at.first_reasons([case.name], [2]) == [(case.name, subject, "gap")]
        assert at.first_reasons([case.name], [3]) == []
        at.unpark([queue[0].id])
        at.still(queue[1].id, "write: DataError")
    with case.store.transaction() as at:
        assert [(p.seq, p.reason) for p in at.queue(case.name, subject)] == [(8, "write: DataError"), (9, "queued")]


def shaped_by(case: Case, subject: UUID) -> int:
    """What the row of a subject says."""
    name = case.projection.name
    if isinstance(case.store, MemoryStore):
        return int(case.store.rows[SHAPED_BY, case.projection.schema, name, (subject,)])
    assert isinstance(case.store, PostgresStore)
    with case.store.transaction() as at:
        query = f"SELECT {SHAPED_BY} FROM {case.projection.schema}.{name} WHERE subject = %s"
        row = at.cur.execute(query.encode(), (subject,)).fetchone()
    return int(row[0]) if row else 0


def test_rows_come_back_as_they_were_written_and_none_removes_one(case: Case) -> None:
    name, (one, other) = case.projection.name, (uuid4(), uuid4())
    row = Trail(subject=one, trail="a;", number=1)
    with case.store.transaction() as at:
        assert at.load(case.projection, {name: {(one,), (other,)}}) == {}
        at.save(case.projection, {name: [((one,), row, 3, True)]})
    with case.store.transaction() as at:
        assert at.load(case.projection, {name: {(one,)}}) == {(name, (one,)): row}
    assert shaped_by(case, one) == 3
    with case.store.transaction() as at:
        at.save(case.projection, {name: [((one,), None, 4, False)]})
    with case.store.transaction() as at:
        assert at.load(case.projection, {name: {(one,)}}) == {}


def test_increments_add_up(case: Case, cluster: Settings) -> None:
    for shard, events in ((0, 2), (1, 5), (0, 4)):
        with case.store.transaction() as at:
            at.save(case.projection, {"counts": [(("a/b",), Counted(clinic="a/b", events=events), shard, False)]})
    if isinstance(case.store, MemoryStore):
        rows = case.store.rows.items()
        assert sum(row.events for key, row in rows if key[:2] == (case.projection.schema, "counts")) == 11


def test_a_counter_is_the_sum_of_its_shards(cluster: Settings) -> None:
    probe = Probe(cluster)
    database = Database(cluster.dsn_for("cluster", "worker"), size=1)
    store = PostgresStore(database)
    for shard, events in ((0, 2), (1, 5), (0, 4)):
        with store.transaction() as at:
            at.save(probe.projection, {"counts": [(("a/b",), Counted(clinic="a/b", events=events), shard, False)]})
    database.close()
    assert counted(cluster, probe) == {"a/b": 11}


def test_an_event_is_archived_once(case: Case) -> None:
    subject, now = uuid4(), datetime(2026, 3, 1, tzinfo=UTC)
    event = Archived(0, now, subject, 1, 1, slice_of(subject), "chart", b"link", b"value")
    with case.store.transaction() as at:
        assert at.chains([subject]) == {}
        at.archive([event], {subject: (1, b"link")})
    with case.store.transaction() as at:
        assert at.chains([subject]) == {subject: (1, b"link")}
    with pytest.raises(psycopg.errors.UniqueViolation), case.store.transaction() as at:
        at.archive([event], {subject: (2, b"other")})
    with case.store.transaction() as at:
        assert at.chains([subject]) == {subject: (1, b"link")}


def test_entries_are_added_behind_those_of_their_partition(case: Case) -> None:
    one, two = bytes(56), bytes(112)
    with case.store.transaction() as at:
        assert at.grow({5001: one, 5002: two}) == {5001: 0, 5002: 0}
        assert at.grow({5002: one}) == {5002: 2}
    with suppress(LookupError), case.store.transaction() as at:
        at.grow({5001: two})
        raise LookupError
    with case.store.transaction() as at:
        assert at.grow({5001: one, 5002: one}) == {5001: 1, 5002: 3}


# The relay's side of a journal


@pytest.fixture(params=["memory", "postgres"])
def outgoing(request: pytest.FixtureRequest, cluster: Settings) -> Iterator[tuple[Journal, Outgoing]]:
    if request.param == "memory":
        journal = MemoryJournal(SERVICE)
        yield journal, MemoryOutgoing(journal)
        return
    with psycopg.connect(cluster.admin_dsn(cluster.database(SERVICE)), autocommit=True) as admin:
        admin.execute("TRUNCATE journal.event, journal.head, journal.relay_member")
        admin.execute("UPDATE journal.tail SET pos = 0")
        admin.execute("UPDATE journal.relay SET pos = 0")
        admin.execute("UPDATE journal.lease SET owner = NULL, lease_until = '-infinity', epoch = 0")
    databases = [Database(cluster.dsn_for(SERVICE, role), size=1) for role in (SERVICE, "relay")]
    yield PostgresJournal(SERVICE, databases[0]), PostgresOutgoing(databases[1])
    for database in databases:
        database.close()


def test_leases_are_shared_renewed_given_back_and_counted(outgoing: tuple[Journal, Outgoing]) -> None:
    _, one = outgoing
    first, second = UUID(int=1), UUID(int=2)
    with one.transaction() as at:
        assert at.join(first, 10) == 1
        assert at.renew(first, 10) == {}
        assert at.acquire(first, 10, 4) == {0: 1, 1: 1, 2: 1, 3: 1}
    with one.transaction() as at:
        assert at.join(second, 10) == 2
        assert sorted(at.acquire(second, 10, SHARES)) == list(range(4, SHARES))
        at.release(first, [0])
    with one.transaction() as at:
        assert at.renew(first, 10) == {1: 1, 2: 1, 3: 1}
        at.release(first, [1])
        assert at.acquire(second, 10, SHARES) == {0: 2, 1: 2} or at.renew(first, 10)
        at.leave(first)
    with one.transaction() as at:
        assert at.join(second, 10) == 1


def test_cursors_move_only_under_their_epoch_and_from_where_they_were(outgoing: tuple[Journal, Outgoing]) -> None:
    journal, one = outgoing
    subject = uuid4()
    slice_ = slice_of(subject)
    share, me = slice_ // 64, UUID(int=1)
    journal.append([append_of(subject, 0, 3)])
    with one.transaction() as at:
        at.join(me, 10)
        epochs = at.acquire(me, 10, SHARES)
    with one.look() as look:
        (news,) = look.news(list(epochs))
        rows = look.fresh([news], 2)
        assert (news.slice, news.cursor) == (slice_, 0)
        assert look.position() >= news.tail
        assert look.news([s for s in epochs if s != share]) == []
    assert [row.seq for row in rows] == [1, 2]
    with one.transaction() as at:
        assert at.move([CursorMove(slice_, 0, rows[1].pos)], {**epochs, share: epochs[share] - 1}) == 0
        assert at.move([CursorMove(slice_, 7, rows[1].pos)], epochs) == 0
        assert at.move([CursorMove(slice_, 0, rows[1].pos)], epochs) == 1
    with one.look() as look:
        (news,) = look.news(list(epochs))
        assert [row.seq for row in look.fresh([news], 9)] == [3]
    with one.transaction() as at:
        assert at.move([CursorMove(slice_, rows[1].pos, news.tail)], epochs) == 1
    with one.look() as look:
        assert look.news(list(epochs)) == []
