"""The relay: everything arrives, in each slice's order; a cursor never passes what the broker has not acknowledged."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from epicrisis.codec import MAX_RECORD, MAX_VALUE
from epicrisis.database import Database
from epicrisis.errors import SendFailed
from epicrisis.journal import Append, PostgresJournal
from epicrisis.journal.postgres_outgoing import PostgresOutgoing
from epicrisis.provision.kafka import LIMIT, provision
from epicrisis.relay import SHARES, Leases, Pump, Relay, producer
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from tests.kernel_support import append_of, new_events, own_namespace, subject_in, wait_until

pytestmark = pytest.mark.servers
SERVICE = "referral"


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    """No other relay runs in this namespace."""
    with own_namespace(servers) as settings:
        yield settings


@pytest.fixture
def admin(cluster: Settings) -> Iterator[psycopg.Connection[Any]]:
    """The administrator in the service's database; every test starts with an empty journal."""
    with psycopg.connect(cluster.admin_dsn(cluster.database(SERVICE)), autocommit=True) as connection:
        connection.execute("TRUNCATE journal.event, journal.head, journal.relay_member")
        connection.execute("UPDATE journal.tail SET pos = 0")
        connection.execute("UPDATE journal.relay SET pos = 0")
        connection.execute("UPDATE journal.lease SET owner = NULL, lease_until = '-infinity'")
        yield connection


@pytest.fixture
def journal(cluster: Settings, admin: object) -> Iterator[PostgresJournal]:
    database = Database(cluster.dsn_for(SERVICE, SERVICE), size=2)
    yield PostgresJournal(SERVICE, database)
    database.close()


class Answer:
    """A future that is done already."""

    is_done = True

    def __init__(self, exception: Exception | None) -> None:
        self.exception = exception

    def succeeded(self) -> bool:
        return self.exception is None


@dataclass
class Broker:
    """A broker in memory, and the producer of it. ``fails`` decides per record what goes wrong, by its number."""

    fails: Callable[[int], str | None] = lambda _: None
    on_flush: Callable[[], None] = lambda: None
    log: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    calls: int = 0
    made: int = 0

    def make(self) -> Broker:
        self.made += 1
        return self

    def send(self, topic: str, *, key: bytes, value: bytes, partition: int, **_: Any) -> Answer:
        self.calls += 1
        match self.fails(self.calls):
            case "raise":
                raise KafkaConnectionError("gone")
            case "lost":
                return Answer(KafkaTimeoutError("lost"))
            case "written":  # the broker has it, but its answer was lost
                self.log.append((partition, key, value))
                return Answer(KafkaTimeoutError("no answer"))
            case _:
                self.log.append((partition, key, value))
                return Answer(None)

    def flush(self, timeout: float) -> None:
        self.on_flush()

    def close(self, timeout: float) -> None:
        pass


@pytest.fixture
def pump(cluster: Settings, admin: object) -> Iterator[Callable[..., Pump]]:
    made: list[Pump] = []

    def make(factory: Callable[[], Any]) -> Pump:
        database = Database(cluster.dsn_for(SERVICE, "relay"), size=1)
        made.append(Pump(SERVICE, PostgresOutgoing(database), cluster.topic(), cluster.partitions, factory))
        return made[-1]

    yield make
    for one in made:
        one.close()


def journalled(admin: psycopg.Connection[Any]) -> dict[int, list[bytes]]:
    """The values in the journal, per slice, in order."""
    found: dict[int, list[bytes]] = {}
    for slice_, value in admin.execute("SELECT slice, value FROM journal.event ORDER BY slice, pos"):
        found.setdefault(slice_, []).append(value)
    return found


def first_seen(log: list[tuple[int, bytes, bytes]]) -> dict[int, list[bytes]]:
    """What arrived, per slice, without the repeats."""
    found: dict[int, list[bytes]] = {}
    for _, key, value in log:
        some = found.setdefault(slice_of(UUID(bytes=key)), [])
        if value not in some:
            some.append(value)
    return found


def journalled_values(admin: psycopg.Connection[Any]) -> set[bytes]:
    return {value for some in journalled(admin).values() for value in some}


def arrived(broker: Broker) -> set[bytes]:
    return {value for _, _, value in broker.log}


def passed(admin: psycopg.Connection[Any]) -> set[bytes]:
    """The values that the cursors have passed."""
    query = "SELECT value FROM journal.event JOIN journal.relay USING (slice) WHERE event.pos <= relay.pos"
    return {value for (value,) in admin.execute(query)}


def drain(one: Pump, rounds: int = 200) -> int:
    """Step until there is no news; how often the broker failed."""
    failures = 0
    for _ in range(rounds):
        try:
            if not one.step():
                return failures
        except SendFailed:
            failures += 1
    raise AssertionError("the relay never came to an end")


def write_some(journal: PostgresJournal, slices: tuple[int, ...] = (3, 4, 700), each: int = 6) -> None:
    """Events of several subjects in these slices, some of them appended together."""
    subjects = [subject_in(at) for at in slices]
    journal.append([append_of(s, 0, 2) for s in subjects])
    for n in range(2, each):
        journal.append([append_of(subjects[n % len(subjects)], 2 if n < 2 + len(subjects) else 3, 1)])


def test_everything_arrives_in_the_order_of_its_slice(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any, cluster: Settings
) -> None:
    write_some(journal)
    broker = Broker()
    assert drain(pump(broker.make)) == 0
    assert first_seen(broker.log) == journalled(admin)
    assert len(broker.log) == 9 + 1
    for partition, key, _ in broker.log:
        assert partition == partition_of(slice_of(UUID(bytes=key)), cluster.partitions)


def test_a_slice_that_was_read_to_its_end_is_no_news(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any
) -> None:
    write_some(journal)
    drain(pump(Broker().make))
    behind = admin.execute("SELECT slice FROM journal.tail JOIN journal.relay USING (slice) WHERE tail.pos > relay.pos")
    assert behind.fetchall() == []


@pytest.mark.parametrize("how", ["raise", "lost", "written"])
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_cursor_stops_before_what_was_not_acknowledged(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any, how: str, at: int
) -> None:
    write_some(journal)
    broker = Broker(fails=lambda call: how if call == at else None)
    one = pump(broker.make)
    with pytest.raises(SendFailed):
        one.step()
    assert passed(admin) <= arrived(broker)
    assert drain(one) == 0
    assert arrived(broker) == journalled_values(admin)
    assert broker.made == 2


def test_a_broker_that_cannot_be_reached_moves_no_cursor(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any
) -> None:
    write_some(journal)

    def nobody() -> Any:
        raise KafkaTimeoutError("nobody answers")

    one = pump(nobody)
    for _ in range(3):
        with pytest.raises(SendFailed):
            one.step()
    assert passed(admin) == set()


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_whatever_fails(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any, seed: int
) -> None:
    chance = random.Random(seed)
    subjects = [subject_in(at) for at in (1, 2, 2, 65)]
    heads = dict.fromkeys(subjects, 0)
    broker = Broker(fails=lambda _: chance.choice(["raise", "lost", "written"]) if chance.random() < 0.15 else None)
    one = pump(broker.make)
    for _ in range(12):
        some = chance.sample(subjects, chance.randint(1, 3))
        journal.append([append_of(s, heads[s], chance.randint(1, 3)) for s in some])
        heads |= {s: len(journal.after(s, 1, 999)) for s in some}
        with suppress(SendFailed):
            one.step()
        assert passed(admin) <= arrived(broker)
    drain(one)
    assert arrived(broker) == passed(admin) == journalled_values(admin)


# Leases


def expire(admin: psycopg.Connection[Any], owner: UUID) -> None:
    """As if this relay had not been heard of for longer than its leases last."""
    admin.execute("UPDATE journal.lease SET lease_until = now() - interval '1 s' WHERE owner = %s", (owner,))
    admin.execute("UPDATE journal.relay_member SET seen = now() - interval '1 h' WHERE owner = %s", (owner,))


def look_again(*pumps: Pump) -> None:
    for one in pumps:
        one.leases._due = 0.0
        one.leases.keep()


def test_relays_share_the_slices_evenly(pump: Callable[..., Pump]) -> None:
    first, second = pump(Broker().make), pump(Broker().make)
    first.leases.keep()
    assert sorted(first.leases.epochs) == list(range(SHARES))
    look_again(second, first, second)
    assert len(first.leases.epochs) == len(second.leases.epochs) == SHARES // 2
    assert sorted([*first.leases.epochs, *second.leases.epochs]) == list(range(SHARES))


def test_a_relay_that_stops_leaves_its_shares_to_the_others(pump: Callable[..., Pump]) -> None:
    first, second = pump(Broker().make), pump(Broker().make)
    look_again(first, second, first, second)
    second.close()
    look_again(first)
    assert sorted(first.leases.epochs) == list(range(SHARES))


def test_a_lost_relay_is_replaced_when_its_leases_have_run_out(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any
) -> None:
    write_some(journal)
    broker = Broker()
    lost, other = pump(Broker().make), pump(broker.make)
    look_again(lost, other)
    lost_owner = lost.leases._owner
    assert drain(other) == 0
    assert broker.log == []
    expire(admin, lost_owner)
    look_again(other)
    drain(other)
    assert first_seen(broker.log) == journalled(admin)


def test_a_relay_that_was_replaced_while_it_sent_moves_no_cursor(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any
) -> None:
    write_some(journal)
    taken: list[set[bytes]] = []
    other_broker = Broker(fails=lambda _: "lost")
    other = pump(other_broker.make)

    def take_over() -> None:
        if not taken:
            expire(admin, zombie.leases._owner)
            look_again(other)
            with pytest.raises(SendFailed):
                other.step()
            taken.append(passed(admin))

    zombie = pump(Broker(on_flush=take_over).make)
    zombie.step()
    assert taken == [set()]
    assert passed(admin) == set()
    assert zombie.leases.epochs == {}
    other_broker.fails = lambda _: None
    drain(other)
    assert first_seen(other_broker.log) == journalled(admin)


def test_leases_run_out_by_the_clock_of_the_database(cluster: Settings, admin: object) -> None:
    databases = [Database(cluster.dsn_for(SERVICE, "relay"), size=1) for _ in range(2)]
    silent, waiting = (Leases(PostgresOutgoing(database), uuid4(), seconds=0.4) for database in databases)
    silent.keep()

    def taken() -> bool:
        waiting._due = 0.0
        waiting.keep()
        return len(waiting.epochs) == SHARES

    wait_until(taken, "the silent relay's shares are taken over")
    for one, database in zip((silent, waiting), databases, strict=True):
        one.release()
        database.close()


# Kafka itself


def log_of(cluster: Settings) -> list[Any]:
    """Every record of the topic."""
    consumer = KafkaConsumer(**cluster.kafka("worker"), enable_auto_commit=False, group_id=None)
    try:
        places = [TopicPartition(cluster.topic(), p) for p in range(cluster.partitions)]
        ends = consumer.end_offsets(places)
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        records: list[Any] = []
        while any(consumer.position(place) < ends[place] for place in places):
            for some in consumer.poll(timeout_ms=500).values():
                records += some
        return records
    finally:
        consumer.close(autocommit=False)


def test_two_relays_bring_everything_to_kafka_though_one_of_them_stops(
    journal: PostgresJournal, cluster: Settings, admin: Any
) -> None:
    first, second = Relay(cluster, [SERVICE]), Relay(cluster, [SERVICE])
    first.start()
    second.start()
    subjects = [uuid4() for _ in range(40)]
    try:
        for n in range(10):
            for some in (subjects[:20], subjects[20:]):
                journal.append([append_of(s, n, 1) for s in some])
            if n == 5:
                first.stop()
        wait_until(lambda: len(passed(admin)) == 400, "the cursors are at the end")
    finally:
        second.stop()
    log = [(r.partition, r.key, r.value) for r in log_of(cluster)]
    wanted = journalled(admin)
    found = {at: some for at, some in first_seen(log).items() if at in wanted}
    assert {at: [v for v in some if v in wanted[at]] for at, some in found.items()} == wanted
    by_slice: dict[int, int] = {}
    for partition, key, _ in log:
        assert by_slice.setdefault(slice_of(UUID(bytes=key)), partition) == partition


def test_a_record_carries_the_value_as_it_was_journalled_and_no_clinical_word(
    journal: PostgresJournal, pump: Callable[..., Pump], cluster: Settings
) -> None:
    append = append_of(uuid4(), 0, 1)
    journal.append([append])
    drain(pump(lambda: producer(cluster)))
    record = next(r for r in log_of(cluster) if r.key == append.subject.bytes)
    assert record.value == append.events[0].value
    assert [name for name, _ in record.headers] == [
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "content-type",
    ]
    headers = dict(record.headers)
    assert headers["ce_id"] == str(append.events[0].id).encode()
    assert headers["ce_type"] == append.events[0].type.encode()
    assert headers["ce_source"] == SERVICE.encode()


def test_an_event_is_on_kafka_soon_after_its_commit(
    cluster: Settings, admin: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Correctness never depends on the clock: this measures, and only a stall fails it."""
    relay = Relay(cluster, [SERVICE])
    database = Database(cluster.dsn_for(SERVICE, SERVICE), size=2)
    journal = PostgresJournal(SERVICE, database, lambda _: relay.wake(SERVICE))
    consumer = KafkaConsumer(**cluster.kafka("worker"), enable_auto_commit=False, group_id=None, fetch_max_wait_ms=5)
    places = [TopicPartition(cluster.topic(), p) for p in range(cluster.partitions)]
    consumer.assign(places)
    consumer.seek_to_end(*places)
    for place in places:
        consumer.position(place)
    relay.start()
    took: list[float] = []
    try:
        for n in range(30):
            subject = uuid4()
            journal.append([append_of(subject, 0, 1)])
            committed = time.perf_counter()
            wait_until(
                lambda subject=subject: any(
                    r.key == subject.bytes for some in consumer.poll(timeout_ms=50).values() for r in some
                ),
                "the event is on Kafka",
            )
            if n >= 5:
                took.append(1000 * (time.perf_counter() - committed))
    finally:
        relay.stop()
        consumer.close(autocommit=False)
        database.close()
    took.sort()
    with capsys.disabled():
        print(f"\ncommit → read from Kafka: median {took[len(took) // 2]:.0f} ms, slowest {took[-1]:.0f} ms")


def test_the_largest_value_that_the_codec_writes_is_relayed(
    journal: PostgresJournal, pump: Callable[..., Pump], admin: Any, cluster: Settings
) -> None:
    """Also to a topic that an earlier release made."""
    kafka = KafkaAdminClient(**cluster.kafka("admin"))
    kafka.alter_configs([ConfigResource(ConfigResourceType.TOPIC, cluster.topic(), configs={LIMIT: "16777216"})])
    provision(cluster)
    kafka.close()
    subject = uuid4()
    (event,) = new_events(subject, 1, 1)
    value = event.value + random.Random(5).randbytes(MAX_VALUE - len(event.value))
    event = event._replace(value=value)
    journal.append([Append(subject, 0, [event])])
    one = pump(lambda: producer(cluster))
    assert drain(one) == 0
    assert passed(admin) == {value}


def test_what_is_sent_arrives_in_order_over_several_batches(cluster: Settings) -> None:
    one, chance, subject = producer(cluster), random.Random(3), uuid4()
    there = {"topic": cluster.topic(), "key": subject.bytes, "headers": b"\x00", "timestamp_ms": 1}
    at = partition_of(slice_of(subject), cluster.partitions)
    values = [chance.randbytes(1000) for _ in range(1500)]
    sent = [one.send(**there, value=value, partition=at) for value in values]
    one.flush(60)
    assert len(set(sent)) > 1
    assert all(batch.is_done and batch.succeeded() for batch in sent)
    one.close(10)
    assert [record.value for record in log_of(cluster) if record.key == subject.bytes] == values


def test_what_was_not_acknowledged_when_its_producer_is_closed_is_given_up(cluster: Settings) -> None:
    one = producer(cluster)
    there = {"topic": cluster.topic(), "key": b"key", "headers": b"\x00", "timestamp_ms": 1}
    filling = one.send(**there, value=b"never sent", partition=1)
    with pytest.raises(UnknownTopicOrPartitionError):
        one.send(**there, value=b"nowhere", partition=cluster.partitions)
    with pytest.raises(MessageSizeTooLargeError):
        one.send(**there, value=bytes(MAX_RECORD), partition=2)
    one.close(10)
    assert not filling.is_done
    assert not one._sender.is_alive()
