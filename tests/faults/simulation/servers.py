"""The databases in memory, with everything that can happen to a connection: each call is a turn of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.errors import Conflict
from epicrisis.fhir.codes import Code
from epicrisis.intake.inbox import Found, Message
from epicrisis.intake.memory import MemoryInbox
from epicrisis.journal import Append, Appended, Claim, History, MemoryJournal, MemoryOutgoing
from epicrisis.journal.memory_outgoing import MemoryLeasing, MemoryLook
from epicrisis.journal.outgoing import Move, News, Row
from epicrisis.projecting.memory import MemoryStore, MemoryTransaction
from epicrisis.projecting.store import Archived, Held, Parked, Saved
from epicrisis.projecting.store import Move as OffsetMove
from epicrisis.projection import Key, Place, Projection
from epicrisis.slices import slice_of
from tests.faults.simulation.schedule import Killed, Schedule, SimulatedLocks

Check = Callable[..., None]


class Session:
    """A transaction's connection: gone once anything happened to it."""

    def __init__(self, schedule: Schedule, locks: SimulatedLocks, owner: object) -> None:
        self.schedule, self._locks, self._owner = schedule, locks, owner
        self.lost = False

    def free(self) -> None:
        self._locks.free(self._owner)

    def turn(self, what: str) -> None:
        self.check()
        try:
            self.schedule.turn(what)
        except psycopg.Error:
            self.lost = True
            self.free()
            raise
        self.check()

    def check(self) -> None:
        if self.lost:
            raise psycopg.errors.IdleInTransactionSessionTimeout("the connection is gone")

    @contextmanager
    def open(self) -> Iterator[None]:
        process = self.schedule.current
        if process is not None:
            process.host.transactions.append(self)
        try:
            yield
        finally:
            if process is not None and self in process.host.transactions:
                process.host.transactions.remove(self)
            self.free()


def commit(schedule: Schedule, what: str, session: Session | None, apply: Callable[[], Any]) -> Any:
    """Something may happen before the commit, and after it: then it is done, and nobody was told."""
    if session is not None:
        session.turn(f"{what} commit")
    else:
        schedule.turn(f"{what} commit")
    done = apply()
    if schedule.rate("commit"):
        if schedule.chance.random() < 0.5 and schedule.current is not None:
            schedule.fault(f"kill after {what} commit")
            schedule.current.host.killed = True
            raise Killed
        schedule.fault(f"cut after {what} commit")
        raise psycopg.OperationalError("the answer of the commit is lost")
    return done


# The cluster database


class Store(MemoryStore):
    """``on_commit(rows before, transaction)`` is called after each commit; ``refuses``: which rows are not taken."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(SimulatedLocks(schedule))
        self.schedule = schedule
        self.on_commit: Check = lambda *_: None
        self.refuses: Callable[[Any], bool] = lambda _: False

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        at = Transaction(self)
        self.schedule.turn("begin")
        with at.session.open():
            yield at
            commit(self.schedule, "store", at.session, lambda: self.commit(at))

    def commit(self, at: MemoryTransaction) -> None:
        before = {name: self.rows.get(name) for name in (*at.written, *at.added)}
        super().commit(at)
        self.on_commit(before, at)


class Transaction(MemoryTransaction):
    def __init__(self, store: Store) -> None:
        super().__init__(store)
        assert isinstance(store.locks, SimulatedLocks)
        self.session = Session(store.schedule, store.locks, self)
        self._refuses = store.refuses

    def take(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, tuple[int, int]]:
        self.session.turn("take")
        return super().take(consumers, partitions)

    def hold(self, consumers: Collection[str], partitions: Collection[int]) -> dict[Held, int]:
        self.session.turn("hold")
        held = super().hold(consumers, partitions)
        self.session.check()
        return held

    def positions(self, consumers: Collection[str], subjects: Collection[UUID]) -> dict[Any, dict[str, int]]:
        self.session.turn("positions")
        return super().positions(consumers, subjects)

    def queue(self, consumer: str, subject: UUID) -> list[Parked]:
        self.session.turn("queue")
        return super().queue(consumer, subject)

    def park(self, consumer: str, subject: UUID, event: Parked) -> None:
        self.session.check()
        super().park(consumer, subject, event)

    def load(self, projection: Projection, keys: Mapping[str, Collection[Key]]) -> dict[Place, Any]:
        self.session.turn("load")
        return super().load(projection, keys)

    def save(self, projection: Projection, rows: Mapping[str, Sequence[Saved]]) -> None:
        self.session.turn("save")
        super().save(projection, rows)
        if any(self._refuses(row) for some in rows.values() for _, row, *_ in some):
            raise psycopg.DataError("a row cannot be written")

    def grow(self, entries: Mapping[int, bytes]) -> dict[int, int]:
        self.session.turn("grow")
        return super().grow(entries)

    def archive(self, events: Sequence[Archived], chains: Mapping[UUID, tuple[int, bytes]]) -> None:
        self.session.turn("archive")
        super().archive(events, chains)

    def move(self, moves: Sequence[OffsetMove]) -> int:
        self.session.turn("move")
        moved = super().move(moves)
        self.session.check()
        return moved


# A service's database


class Journal(MemoryJournal):
    """Appends lock their slices and take their ``pos`` before they commit, as PostgreSQL's do."""

    def __init__(self, name: str, schedule: Schedule) -> None:
        super().__init__(name)
        self.schedule = schedule
        self.locks = SimulatedLocks(schedule)
        self.on_append: Check = lambda *_: None

    def _look(self, what: str) -> None:
        self.schedule.turn(f"{self.name} {what}")

    def load(self, wanted: Mapping[UUID, Collection[str]]) -> dict[UUID, History]:
        self._look("history")
        return super().load(wanted)

    def append(
        self,
        appends: Sequence[Append],
        claims: Sequence[Claim] = (),
        members: Collection[tuple[UUID, str]] = (),
    ) -> Appended:
        owner = object()
        session = Session(self.schedule, self.locks, owner)
        with session.open():
            session.turn(f"{self.name} lock")
            self.locks.take(owner, sorted({slice_of(a.subject) for a in appends}))
            found = self._check(appends, claims)
            if found is not None:
                return found
            first = self._number(appends)
            session.turn(f"{self.name} append")

            def write() -> Appended:
                if self._check(appends, claims) is not None:
                    raise Conflict(f"{self.name}: somebody else appended first")
                done = self._write(appends, claims, members, first)
                self.on_append(self, appends, first)
                return done

            done: Appended = commit(self.schedule, self.name, session, write)
            return done

    def known(self, streams: Collection[str]) -> dict[str, UUID]:
        self._look("known")
        return super().known(streams)

    def who(
        self, digests: Collection[bytes], subjects: Collection[UUID]
    ) -> tuple[dict[bytes, UUID], set[tuple[UUID, str]]]:
        self._look("who")
        return super().who(digests, subjects)

    def after(self, subject: UUID, first: int, last: int) -> list[bytes]:
        self._look("after")
        return super().after(subject, first, last)


class Outgoing(MemoryOutgoing):
    """``skew`` is by how much the clock of this database has jumped. ``on_move`` is called before cursors move."""

    def __init__(self, journal: Journal) -> None:
        self.schedule, self.skew = journal.schedule, 0.0
        super().__init__(journal, lambda: self.schedule.now + self.skew, SimulatedLocks(journal.schedule))
        self.on_move: Check = lambda *_: None

    @contextmanager
    def look(self) -> Iterator[Look]:
        yield Look(self)

    @contextmanager
    def transaction(self) -> Iterator[Leasing]:
        at = Leasing(self)
        with at.session.open():
            yield at
            commit(self.schedule, "cursors" if at.cursors else "leases", at.session, lambda: self.commit(at))

    def commit(self, at: MemoryLeasing) -> None:
        self.on_move(self, at.cursors)
        super().commit(at)


class Look(MemoryLook):
    def __init__(self, outgoing: Outgoing) -> None:
        super().__init__(outgoing)
        self._turn = outgoing.schedule.turn

    def position(self) -> int:
        self._turn("position")
        return super().position()

    def news(self, shares: Collection[int]) -> list[News]:
        self._turn("news")
        return super().news(shares)

    def fresh(self, news: Sequence[News], limit: int) -> list[Row]:
        self._turn("fresh")
        return super().fresh(news, limit)


class Leasing(MemoryLeasing):
    def __init__(self, outgoing: Outgoing) -> None:
        super().__init__(outgoing)
        assert isinstance(outgoing.locks, SimulatedLocks)
        self.session = Session(outgoing.schedule, outgoing.locks, self)

    def join(self, owner: UUID, seconds: float) -> int:
        self.session.turn("join")
        return super().join(owner, seconds)

    def acquire(self, owner: UUID, seconds: float, limit: int) -> dict[int, int]:
        self.session.turn("acquire")
        return super().acquire(owner, seconds, limit)

    def move(self, moves: Sequence[Move], epochs: Mapping[int, int]) -> int:
        self.session.turn("cursors")
        moved = super().move(moves, epochs)
        self.session.check()
        return moved


# Intake's database


class Inbox(MemoryInbox):
    """Who watches a message loses that with his connection, and does not notice before the end."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self._watchers: dict[UUID, object] = {}

    def result(self, id_: UUID) -> Found:
        self.schedule.turn("inbox result")
        return super().result(id_)

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        found: set[UUID] = commit(self.schedule, "record", None, lambda: super(Inbox, self).record(message, subjects))
        return found

    def finish(self, id_: UUID, result: dict[str, Any], unmapped: Collection[Code] = ()) -> None:
        commit(
            self.schedule, "finish", None, lambda: self._check(id_) or super(Inbox, self).finish(id_, result, unmapped)
        )

    def keep_codes(self, digest: bytes, table: bytes) -> None:
        self.schedule.turn("inbox keep codes")
        super().keep_codes(digest, table)

    def codes(self, digest: bytes) -> bytes | None:
        self.schedule.turn("inbox codes")
        return super().codes(digest)

    def forget(self, id_: UUID) -> None:
        commit(self.schedule, "forget", None, lambda: self._check(id_) or super(Inbox, self).forget(id_))

    def _check(self, id_: UUID) -> None:
        """Both happen in the watcher's session."""
        if self._watchers.get(id_) is not self._host():
            raise psycopg.OperationalError("the connection is gone")

    def _host(self) -> object:
        assert self.schedule.current is not None
        return self.schedule.current.host

    def occupied(self, id_: UUID) -> set[UUID]:
        self.schedule.turn("inbox occupied")
        return super().occupied(id_)

    def unfinished(self, id_: UUID | None = None) -> list[Message]:
        self.schedule.turn("inbox unfinished")
        return super().unfinished(id_)

    @contextmanager
    def watching(self, id_: UUID) -> Iterator[tuple[bool, Found]]:
        self.schedule.turn("watch")
        mine = id_ not in self._watchers
        token = self._host()
        if mine:
            self._watchers[id_] = token
            if self.schedule.rate("unwatch"):
                self.schedule.fault("watch lost")
                del self._watchers[id_]
        try:
            yield mine, self.result(id_) if mine else None
        finally:
            if self._watchers.get(id_) is token:
                del self._watchers[id_]
        # Where the connection is lost, giving the lock back fails: the caller learns it at the end.
        if mine and self.schedule.rate("unwatch"):
            self.schedule.fault("cut unwatch")
            raise psycopg.OperationalError("the connection is gone")

    def receipts(self) -> dict[UUID, dict[str, int]]:
        """The events of each message that is done, per service."""
        return {id_: self._results[id_]["events"] for id_ in self._done if "events" in self._results[id_]}

    def waiting(self) -> bool:
        """Whether a message is unfinished."""
        return len(self._done) < len(self._messages)
