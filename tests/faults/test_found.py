"""What the simulation has found, each in as few steps as it takes, on the real services."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from epicrisis import assembly
from epicrisis.codec import MemoryKeyStore
from epicrisis.database import Database
from epicrisis.found import services
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests, message_id
from epicrisis.intake.inbox import Message, PostgresInbox
from epicrisis.intake.memory import MemoryInbox
from epicrisis.journal import Append, Appended, History, MemoryJournal
from tests.kernel_support import bundle, condition, observation, own_namespace, patient

OPERATOR, CLINIC = "charite", "charite/gyn"


class Killed(BaseException):
    """The process is gone."""


class Watched(MemoryJournal):
    """A journal in which something happens before its next call of a kind."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.before_load: Callable[[], None] | None = None
        self.before_append: Callable[[Any], None] | None = None
        self.loads = 0

    def load(self, wanted: Any) -> dict[UUID, History]:
        self.loads += 1
        if self.before_load and self.loads == 2:
            self.before_load, happens = None, self.before_load
            happens()
        return super().load(wanted)

    def append(self, appends: Any, *more: Any) -> Appended:
        if self.before_append:
            self.before_append(appends)
        return super().append(appends, *more)


class House:
    def __init__(self) -> None:
        self.journals = {name: Watched(name) for name in services()}
        self.inbox = MemoryInbox()
        self.keys = MemoryKeyStore()

    def intake(self, inbox: Any = None) -> Intake:
        return Intake(
            services=services(),
            journals=self.journals,
            inbox=inbox or self.inbox,
            codec=assembly.codec(),
            keys=self.keys,
            digests=Digests(bytes(32)),
        )

    def receive(self, raw: bytes, inbox: Any = None) -> dict[str, int]:
        receipt = self.intake(inbox).receive(raw, operator=OPERATOR, clinic=CLINIC, door="test")
        return dict(receipt.events)


class Forgetful(MemoryInbox):
    """Whose watcher's connection is gone at once: others take him for dead while he goes on."""

    def watching(self, id_: UUID) -> Any:
        self._watched.discard(id_)
        return super().watching(id_)


def test_whoever_finishes_a_message_while_its_first_process_goes_on_counts_its_events() -> None:
    """Seed 61: the first process lost the lock of its session; its append came between a look and a decision."""
    house, raw = House(), bundle(patient(), condition(), observation())
    house.inbox = Forgetful()
    first, finishing = house.intake(), house.intake()
    chart = house.journals["chart"]
    stopped: dict[str, Any] = {}

    def meanwhile(appends: list[Append]) -> None:
        """The first process stands before its last append; another one finishes its message."""
        chart.before_append = None
        chart.loads = 0
        chart.before_load = lambda: stopped.update(done=MemoryJournal.append(chart, appends))
        assert finishing.recover() == 1

    chart.before_append = meanwhile
    first.receive(raw, operator=OPERATOR, clinic=CLINIC, door="test")
    assert house.receive(raw) == {"registration": 1, "diagnosis": 1, "chart": 1}


class Dying(MemoryInbox):
    """Shares an inbox; its process is killed when it records for the second time."""

    def __init__(self, inner: MemoryInbox) -> None:
        self.__dict__ = inner.__dict__
        self.records = {"left": 1}

    def record(self, message: Message, subjects: Collection[UUID]) -> set[UUID]:
        if self.records["left"] == 0:
            raise Killed
        self.records["left"] -= 1
        return super().record(message, subjects)


def test_whoever_finishes_a_message_occupies_whom_it_is_about_now() -> None:
    """Seed 99: recorded about a patient of its own minting; somebody else registered that person; it was killed."""
    house = House()
    registration = house.journals["registration"]
    raw = bundle(patient("p1", number="5"), observation("o1"))
    other = bundle(patient("p2", number="5"))

    def somebody_else_first(_: object) -> None:
        registration.before_append = None
        house.receive(other)

    registration.before_append = somebody_else_first
    with pytest.raises(Killed):
        house.receive(raw, inbox=Dying(house.inbox))
    id_ = message_id(OPERATOR, CLINIC, raw)
    written: set[UUID] = set()

    def look(appends: list[Append]) -> None:
        written.update(a.subject for a in appends)
        assert written <= house.inbox.occupied(id_), "it writes about somebody whom it does not occupy"

    for journal in house.journals.values():
        journal.before_append = look
    assert house.intake().recover() == 1
    assert written


def test_who_waits_for_others_keeps_nobody_waiting() -> None:
    """Two recorded messages that each wait for a patient of the other's would wait for ever."""
    inbox = MemoryInbox()
    one, two = UUID(int=1), UUID(int=2)

    def message(n: int) -> Message:
        now = datetime(2026, 3, 1, tzinfo=UTC)
        return Message(
            id=UUID(int=n), received=now, operator="o", clinic="o/c", door="t", key=UUID(int=0), original=b""
        )

    assert inbox.record(message(11), {one}) == set()
    assert inbox.record(message(12), {two}) == set()
    assert inbox.record(message(11), {one, two}) == {UUID(int=12)}
    assert inbox.record(message(12), {one, two}) == set()
    assert inbox.occupied(UUID(int=11)) == set()


@pytest.mark.servers
def test_who_has_lost_the_lock_on_a_message_cannot_forget_it(servers: dict[str, Any]) -> None:
    """Seed 2786: frozen and cut off, it came back, saw what another had appended meanwhile, and refused the message."""
    with own_namespace(servers, kafka=False) as settings:
        database = Database(settings.dsn_for("intake", "intake"), size=2)
        inbox = PostgresInbox(database)
        now = datetime(2026, 3, 1, tzinfo=UTC)
        message = Message(
            id=UUID(int=7), received=now, operator="o", clinic="o/c", door="t", key=UUID(int=1), original=b"x"
        )
        with suppress(psycopg.OperationalError), inbox.watching(message.id) as mine:
            assert mine
            assert inbox.record(message, [UUID(int=1)]) == set()
            with psycopg.connect(settings.admin_dsn(settings.database("intake")), autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            with suppress(psycopg.OperationalError), inbox.watching(UUID(int=8)):
                pass  # somebody else in this process met the loss first, and got a new session
            inbox.forget(message.id)
        assert [m.id for m in inbox.unfinished()] == [message.id]
        database.close()


@pytest.mark.servers
def test_who_comes_late_to_a_message_that_is_done_occupies_nobody(servers: dict[str, Any]) -> None:
    subject, other = UUID(int=5), UUID(int=6)

    def message(n: int) -> Message:
        now = datetime.now(UTC)
        return Message(
            id=UUID(int=n), received=now, operator="o", clinic="o/c", door="t", key=UUID(int=0), original=b""
        )

    done, next_ = message(21), message(22)
    with own_namespace(servers, kafka=False) as settings:
        database = Database(settings.dsn_for("intake", "intake"), size=2)
        inboxes: list[Any] = [MemoryInbox(), PostgresInbox(database)]
        for inbox in inboxes:
            assert inbox.record(done, [subject]) == set()
            inbox.finish(done.id, {"events": {}})
            assert inbox.record(done, [subject]) == set()
            assert inbox.occupied(done.id) == set()
            assert inbox.record(next_, [subject, other]) == set()
        with psycopg.connect(settings.admin_dsn(settings.database("intake")), autocommit=True) as admin:
            admin.execute("UPDATE inbox.busy SET message = %s WHERE subject = %s", (done.id, subject))
        assert inbox.record(next_, [subject, other]) == {done.id}
        assert inbox.record(next_, [subject, other]) == set(), "what was left behind is freed"
        database.close()
