"""The Kafka inboxes on doubles: batches that do harm, turns, what is answered, and what fails on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.record.default_records import DefaultRecordBatchBuilder

from epicrisis import assembly
from epicrisis.codec import MemoryKeyStore
from epicrisis.doors.kafka_inbox import batches
from epicrisis.doors.kafka_inbox.batches import SafeBatch, Unreadable
from epicrisis.doors.kafka_inbox.judge import Judge, Place
from epicrisis.doors.kafka_inbox.memory import MemoryPlaces
from epicrisis.doors.kafka_inbox.queues import FULL_RECORDS, Queues
from epicrisis.doors.kafka_inbox.run import Broker, Inboxes
from epicrisis.errors import SettingsError, TooManyConflicts, Unreachable
from epicrisis.found import services
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests
from epicrisis.intake.memory import MemoryInbox
from epicrisis.journal import MemoryJournal
from epicrisis.operators import Operator, Topic
from epicrisis.quarantine import Quarantine
from epicrisis.quarantine.memory import MemoryStore
from epicrisis.settings import Settings
from tests.kernel_support import bundle, observation, patient, wait_until

OPERATOR = Operator(
    title="A", country="DE", clinics=("main", "onco"), inbox=Topic(clinic="main"), name="charite", folder=Path()
)
OTHER = Operator(title="B", country="NL", clinics=("main",), inbox=Topic(clinic="main"), name="amc", folder=Path())


# Batches


def batch(*records: tuple[bytes, list[tuple[str, bytes]]], codec: int = 0, base: int = 40) -> SafeBatch:
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 30)
    for number, (value, headers) in enumerate(records):
        assert builder.append(number, 1000, b"k", value, headers) is not None
    raw = bytearray(builder.build())
    raw[:8] = base.to_bytes(8, "big")
    return SafeBatch(memoryview(raw))


@pytest.mark.parametrize("codec", [0, 1, 4], ids=["none", "gzip", "zstd"])
def test_a_batch_is_read_as_it_was_written(codec: int) -> None:
    found = list(batch(*[(b"%d" % n * 50, [("h", b"v")]) for n in range(3)], codec=codec))
    assert [(r.offset, r.key, r.value, r.headers) for r in found] == [
        (40 + n, b"k", b"%d" % n * 50, [("h", b"v")]) for n in range(3)
    ]


def why(made: SafeBatch) -> str:
    (record,) = made
    assert isinstance(record.value, Unreadable)
    assert (record.value.first, record.offset) == (made.base_offset, made.last_offset)
    return record.value.why


@pytest.mark.parametrize("codec", [1, 4], ids=["gzip", "zstd"])
def test_a_batch_that_unpacks_to_too_much_is_one_record_that_says_so(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = batch(*[(b" " * 100_000, [])] * 3, codec=codec)
    monkeypatch.setattr(batches, "CAP", 200_000)
    assert "holds more than 200,000 bytes" in why(bomb)


def test_a_batch_of_too_many_records_or_headers_is_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_RECORDS", 3)
    assert len(list(batch(*[(b"x", [])] * 3))) == 3
    assert "holds more than" in why(batch(*[(b"x", [])] * 4))
    many = [("", b"")] * (batches.MAX_HEADERS + 1)
    assert "holds more than" in why(batch((b"x", []), (b"x", many)))


@pytest.mark.parametrize(("codec", "said"), [(2, "take zstd, gzip or none"), (3, "take zstd, gzip or none")])
def test_a_method_that_is_not_read_here_is_named(codec: int, said: str) -> None:
    made = batch((b"x", []))
    made._header_data = (*made._header_data[:5], codec, *made._header_data[6:])
    assert said in why(made)


@pytest.mark.parametrize("codec", [0, 1, 4])
@pytest.mark.parametrize("cut", [1, 10])
def test_a_batch_that_is_cut_off_or_damaged_is_one_record(codec: int, cut: int) -> None:
    made = batch(*[(bytes(range(200)), [])] * 5, codec=codec)
    made._buffer = made._buffer[:-cut]
    assert "cannot be unpacked" in why(made)


# Turns


class Record(NamedTuple):
    offset: int
    value: Any = b"{}"
    key: bytes | None = b"k"
    headers: Sequence[tuple[str, bytes]] = ()


def place(operator: str = "charite", partition: int = 0) -> Place:
    return Place(operator, f"inbox.{operator}", UUID(int=1), partition)


def test_each_operator_has_its_turn_however_much_another_sends() -> None:
    queues = Queues(threads=1)
    flood = [place("charite", n) for n in range(8)]
    queues.hold([*flood, place("amc", 9)])
    for one in flood:
        queues.put(one, [Record(n) for n in range(100)])
    queues.put(place("amc", 9), [Record(n) for n in range(3)])
    served = []
    for _ in range(8):
        taken = queues.take()
        assert taken is not None
        served.append(taken[0].operator)
        queues.give(*taken, answered=True)
    assert served.count("amc") == 3
    assert "amc" in served[:2]


def test_a_partition_is_answered_in_order_one_at_a_time_and_no_operator_has_every_thread() -> None:
    queues = Queues(threads=2)
    queues.hold([place(), place(partition=1), place("amc")])
    queues.put(place(), [Record(0), Record(1)])
    queues.put(place(partition=1), [Record(0)])
    first = queues.take()
    assert first is not None
    assert queues._next() is None, "one thread is left to others"
    queues.put(place("amc"), [Record(7)])
    second = queues.take()
    assert second is not None
    assert second[0] == place("amc")
    queues.give(*first, answered=False)
    queues.give(*second, answered=True)
    seen = []
    while len(seen) < 3:
        taken = queues.take()
        assert taken is not None
        seen.append((taken[0].partition, taken[1].offset))
        queues.give(*taken, answered=True)
    assert [offset for partition, offset in seen if partition == 0] == [0, 1], "what was not answered comes again first"


def test_what_waits_for_something_holds_up_nobody_else() -> None:
    now = [0.0]
    queues = Queues(threads=2, clock=lambda: now[0])
    queues.hold([place(), place("amc")])
    queues.put(place(), [Record(0)])
    stuck = queues.take()
    assert stuck is not None
    queues.give(*stuck, answered=False, rest=5)
    queues.put(place("amc"), [Record(1)])
    taken = queues.take()
    assert taken is not None
    assert taken[0].operator == "amc"
    queues.give(*taken, answered=True)
    assert queues._next() is None
    now[0] = 6
    assert queues.take() == stuck


def test_a_partition_with_enough_waiting_is_not_read_on() -> None:
    queues = Queues(threads=1)
    queues.hold([place()])
    assert not queues.full(place(), False)
    queues.put(place(), [Record(n) for n in range(FULL_RECORDS)])
    assert queues.full(place(), False)
    for _ in range(FULL_RECORDS // 2 + 1):
        taken = queues.take()
        assert taken is not None
        queues.give(*taken, answered=True)
    assert not queues.full(place(), True)
    queues.put(place(), [Record(0, b" " * (16 << 20))])
    assert queues.full(place(), False)


# Answers, on a broker in memory


class House:
    """What outlives a process."""

    def __init__(self) -> None:
        self.journals = {name: MemoryJournal(name) for name in services()}
        self.inbox, self.keys = MemoryInbox(), MemoryKeyStore()
        self.store, self.places = MemoryStore(), MemoryPlaces()
        self.records: dict[TopicPartition, list[Record]] = {}
        self.replies: list[tuple[str, bytes | None, bytes, dict[str, bytes]]] = []
        self.failing: list[Exception] = []
        """What the next sends raise."""

    def intake(self) -> Intake:
        return Intake(
            services=services(),
            journals=self.journals,
            inbox=self.inbox,
            codec=assembly.codec(),
            keys=self.keys,
            digests=Digests(b"k" * 32),
        )

    def judge(self) -> Judge:
        return Judge(self.intake(), Quarantine(self.store, self.keys))

    def put(self, value: bytes | None, operator: str = "charite", **headers: bytes) -> int:
        records = self.records.setdefault(TopicPartition(f"epicrisis.inbox.{operator}", 0), [])
        records.append(Record(len(records), value, b"k", list(headers.items())))
        return len(records) - 1

    @property
    def events(self) -> int:
        return sum(len(journal.log) for journal in self.journals.values())


class Consumer:
    def __init__(self, house: House) -> None:
        self.house, self.at = house, dict[TopicPartition, int]()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.at = {p: self.at.get(p, 0) for p in partitions}

    def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at[partition] = offset

    def paused(self) -> set[TopicPartition]:
        return set()

    def pause(self, _: TopicPartition) -> None: ...

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        found = {}
        for partition, at in self.at.items():
            if some := self.house.records.get(partition, [])[at:]:
                found[partition] = some
                self.at[partition] = at + len(some)
        return found

    def close(self, autocommit: bool) -> None: ...


class Producer:
    def __init__(self, house: House) -> None:
        self.house = house

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: Any, partition: int) -> Any:
        if self.house.failing:
            raise self.house.failing.pop(0)
        self.house.replies.append((topic, key, value, dict(headers)))
        return self

    def get(self, timeout: float) -> None: ...

    def close(self, timeout: float) -> None: ...


class Admin:
    def describe_topics(self, topics: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {"name": t, "error_code": 0, "topic_id": UUID(int=len(t)), "partitions": [{"partition_index": 0}]}
            for t in topics
        ]

    def close(self) -> None: ...


class AllMine:
    def keep(self, places: Sequence[Place]) -> Sequence[Place]:
        return places

    def close(self) -> None: ...


def process(house: House, tmp_path: Path, judge: Callable[[], Any] | None = None) -> Inboxes:
    return Inboxes(
        Settings(state=tmp_path),
        broker=Broker(lambda: Consumer(house), lambda: Producer(house), Admin),
        operators=lambda: {"charite": OPERATOR, "amc": OTHER},
        judge=judge or house.judge,
        places=house.places,
        leases=AllMine(),  # type: ignore[arg-type]
        threads=2,
    )


def run_until(made: Inboxes, happened: Callable[[], Any], what: str = "answered") -> None:
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        wait_until(happened, what)
    finally:
        made.stop()
        thread.join()


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize("failure", [KafkaTimeoutError(), psycopg.OperationalError(), TooManyConflicts()])
def test_what_fails_for_a_while_is_tried_again_and_answered_once(
    house: House, tmp_path: Path, failure: Exception
) -> None:
    kafka = isinstance(failure, KafkaTimeoutError)
    if kafka:
        house.failing = [failure, failure]
    failing = [] if kafka else [failure, failure]

    class Judged(Judge):
        def judge(self, record: Any, place: Place, operator: Operator) -> tuple[bytes, bool]:
            if failing:
                raise failing.pop()
            return super().judge(record, place, operator)

    house.put(b"no message")
    house.put(bundle(patient()))
    quarantine = Quarantine(house.store, house.keys)
    run_until(process(house, tmp_path, lambda: Judged(house.intake(), quarantine)), lambda: len(house.replies) == 2)
    assert [r[3]["ce_inboxposition"] for r in house.replies] == [b"0/0", b"0/1"]
    assert house.events == 1
    assert [row.times for row in quarantine.rows("charite")] == [1]


def test_a_message_that_meets_a_defect_holds_up_nobody_and_is_kept(house: House, tmp_path: Path) -> None:
    class Broken(Intake):
        def receive(self, raw: bytes, **more: Any) -> Any:
            if b"Observation" in raw:
                raise ZeroDivisionError("with a patient's name in it")
            return super().receive(raw, **more)

    made = house.intake()
    made.__class__ = Broken
    quarantine = Quarantine(house.store, house.keys)
    house.put(bundle(observation()))
    house.put(bundle(patient()))
    run_until(process(house, tmp_path, lambda: Judge(made, quarantine)), lambda: len(house.replies) == 2)
    issue = json.loads(house.replies[0][2])["issue"][0]
    assert (issue["severity"], issue["code"]) == ("fatal", "exception")
    assert b"name in it" not in house.replies[0][2]
    assert house.replies[1][3]["ce_type"] == b"epicrisis.inbox.accepted"
    assert [row.door for row in quarantine.rows("charite")] == ["kafka"]


def test_killed_before_the_reply_was_acknowledged_the_same_message_gets_the_same_answer(
    house: House, tmp_path: Path
) -> None:
    house.put(bundle(patient()))
    house.put(bundle(observation(to="Patient/late")))
    done = house.places.done
    house.places.done = lambda place, next_offset: (_ for _ in ()).throw(psycopg.OperationalError())  # type: ignore
    run_until(process(house, tmp_path), lambda: len(house.replies) >= 1, "the first was answered, not remembered")
    house.places.done = done  # type: ignore[method-assign]
    run_until(process(house, tmp_path), lambda: len({r[3]["ce_id"] for r in house.replies}) == 2)
    first = {r[2] for r in house.replies if r[3]["ce_inboxposition"] == b"0/0"}
    assert len([r for r in house.replies if r[3]["ce_inboxposition"] == b"0/0"]) >= 2
    assert len(first) == 1
    assert house.events == 1


def test_a_refusal_stands_though_what_was_missing_came_before_it_was_answered(house: House, tmp_path: Path) -> None:
    offset = house.put(bundle(observation(to="Patient/late")))
    house.failing = [KafkaTimeoutError()] * 1000
    at = Place("charite", "epicrisis.inbox.charite", UUID(int=len("epicrisis.inbox.charite")), 0)
    run_until(process(house, tmp_path), lambda: house.places.start(at, 0)[1], "the refusal was kept")
    refusal = house.places.start(at, 0)[1]
    house.failing = []
    house.intake().receive(bundle(patient("late")), operator="charite", clinic="charite/main", door="test")
    run_until(process(house, tmp_path), lambda: house.replies)
    assert [(r[2], r[3]["ce_inboxposition"]) for r in house.replies] == [(refusal, f"0/{offset}".encode())]


def test_another_operators_messages_go_on_while_one_cannot_be_answered(house: House, tmp_path: Path) -> None:
    class Judged(Judge):
        def judge(self, record: Any, place: Place, operator: Operator) -> tuple[bytes, bool]:
            if operator.name == "charite":
                raise TooManyConflicts
            return super().judge(record, place, operator)

    quarantine = Quarantine(house.store, house.keys)
    house.put(bundle(patient()))
    for number in range(20):
        house.put(bundle(patient(f"p{number}")), "amc")
    run_until(process(house, tmp_path, lambda: Judged(house.intake(), quarantine)), lambda: len(house.replies) == 20)
    assert {topic for topic, *_ in house.replies} == {"epicrisis.replies.amc"}


def test_the_same_bytes_again_are_another_message_that_changes_nothing(house: House, tmp_path: Path) -> None:
    for _ in range(2):
        house.put(bundle(patient()))
    run_until(process(house, tmp_path), lambda: len(house.replies) == 2)
    first, second = (json.loads(value) for _, _, value, _ in house.replies)
    assert first["message"] != second["message"]
    assert [e["did"] for said in (first, second) for e in said["entries"]] == ["created", "unchanged"]
    assert second["events"] == {}


def test_a_topic_made_anew_has_other_names(house: House) -> None:
    assert place().name(0) != place()._replace(topic_id=uuid4()).name(0)


def test_a_process_that_starts_while_the_database_is_away_waits_for_it(house: House, tmp_path: Path) -> None:
    away: list[Exception] = [Unreachable(), psycopg.OperationalError(), Unreachable()]

    def judge() -> Judge:
        if away:
            raise away.pop()
        return house.judge()

    house.put(bundle(patient()))
    run_until(process(house, tmp_path, judge), lambda: house.replies)
    assert house.replies[0][3]["ce_type"] == b"epicrisis.inbox.accepted"


def test_what_no_waiting_mends_ends_the_process(house: House, tmp_path: Path) -> None:
    def judge() -> Judge:
        raise SettingsError("the wrapping key is another one")

    made = process(house, tmp_path, judge)
    with pytest.raises(SettingsError, match="another one"):
        made.run()
