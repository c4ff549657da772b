"""The Kafka inboxes on a real broker: who may do what there, and messages from an inbox to events and replies."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import GroupAuthorizationFailedError, KafkaError
from kafka.structs import OffsetAndMetadata
from typer.testing import CliRunner

from epicrisis.assembly import codec, quarantine
from epicrisis.cli.doctor import operators
from epicrisis.cli.operators import operator as commands
from epicrisis.doors.kafka_inbox.assembled import inboxes
from epicrisis.doors.kafka_inbox.batches import CAP
from epicrisis.doors.kafka_inbox.judge import CLINIC
from epicrisis.doors.kafka_inbox.run import Inboxes
from epicrisis.errors import SettingsError
from epicrisis.found import services
from epicrisis.provision import provision
from epicrisis.settings import OPERATOR, Settings
from tests.acceptance.support import Role
from tests.kernel_support import bundle, condition, observation, own_namespace, patient, wait_until

pytestmark = pytest.mark.servers
MANIFEST = """
title = "{name}"
country = "DE"
clinics = ["main", "onco"]

[inbox]
clinic = "main"
partitions = 2
"""
HERE, THERE, KILLED = "charite", "charite-2", "amc"


def operators_folder(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.toml").write_text(MANIFEST.format(name=name), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = operators_folder(tmp_path_factory.mktemp("operators"), HERE, THERE, KILLED)
    with own_namespace(servers | {"operators": folder}) as settings:
        yield settings


def sent(settings: Settings, operator: str, topic: str) -> str:
    """What comes of one message: ``sent``, or the error's name."""
    user = settings.kafka(f"{OPERATOR}{operator}")
    producer = KafkaProducer(**user, allow_auto_create_topics=False, max_block_ms=5000)
    try:
        producer.send(topic, key=b"k", value=b"v", partition=0).get(10)
    except KafkaError as error:
        return type(error).__name__
    finally:
        producer.close(timeout=0)
    return "sent"


def reader(settings: Settings, operator: str, group: str | None = None) -> Any:
    user = settings.kafka(f"{OPERATOR}{operator}")
    return KafkaConsumer(**user, enable_auto_commit=False, group_id=group, allow_auto_create_topics=False)


def polled(settings: Settings, operator: str, topic: str) -> int:
    """How many records of partition 0 this operator reads."""
    consumer, place, found = reader(settings, operator), TopicPartition(topic, 0), 0
    try:
        consumer.assign([place])
        consumer.seek(place, 0)
        with suppress(KafkaError):
            for _ in range(2):
                found = found or sum(len(some) for some in consumer.poll(timeout_ms=300).values())
    finally:
        consumer.close(autocommit=False)
    return found


def test_an_operator_writes_its_inbox_reads_its_replies_and_nothing_else(cluster: Settings) -> None:
    admin = KafkaProducer(**cluster.kafka("admin"))
    for topic in (cluster.replies(HERE), cluster.inbox(HERE), cluster.topic()):
        admin.send(topic, value=b"{}", partition=0).get(10)
    admin.close()
    assert sent(cluster, HERE, cluster.inbox(HERE)) == "sent"
    assert polled(cluster, HERE, cluster.replies(HERE))
    for user, forbidden in [
        (THERE, cluster.inbox(HERE)),
        (HERE, cluster.inbox(THERE)),
        (HERE, cluster.replies(HERE)),
        (HERE, cluster.topic()),
    ]:
        assert sent(cluster, user, forbidden) == "TopicAuthorizationFailedError", (user, forbidden)
    for user, forbidden in [
        (THERE, cluster.replies(HERE)),
        (THERE, cluster.inbox(HERE)),
        (HERE, cluster.inbox(HERE)),
        (HERE, cluster.topic()),
    ]:
        assert polled(cluster, user, forbidden) == 0, (user, forbidden)


def test_an_operator_commits_in_its_own_groups_only(cluster: Settings) -> None:
    place = TopicPartition(cluster.replies(HERE), 0)
    for group, may in [
        (f"replies.{HERE}.mine", True),
        (f"replies.{HERE}", False),
        (f"replies.{THERE}.mine", False),
        ("worker", False),
    ]:
        consumer = reader(cluster, HERE, cluster.group(group))
        consumer.assign([place])
        try:
            consumer.commit({place: OffsetAndMetadata(0, "", -1)})
            assert may, group
        except GroupAuthorizationFailedError:
            assert not may, group
        finally:
            consumer.close(autocommit=False)


# From an inbox to events and replies


class Sender:
    """An operator's own Kafka client: writes messages, collects the replies."""

    def __init__(self, settings: Settings, operator: str) -> None:
        user = settings.kafka(f"{OPERATOR}{operator}")
        self._inbox, self._replies = settings.inbox(operator), settings.replies(operator)
        self._producer = KafkaProducer(**user, allow_auto_create_topics=False, max_request_size=18 * 1024 * 1024)
        self._consumer = KafkaConsumer(**user, enable_auto_commit=False, group_id=None)
        places = [TopicPartition(self._replies, p) for p in self._consumer.partitions_for_topic(self._replies)]
        self._consumer.assign(places)
        self._consumer.seek_to_end(*places)
        for place in places:
            self._consumer.position(place)
        self.replies: list[Any] = []

    def send(self, value: bytes | None, *, key: bytes | None = b"k", **headers: bytes) -> str:
        """Send a message; its place, as a reply says it."""
        sent = self._producer.send(self._inbox, key=key, value=value, headers=list(headers.items())).get(20)
        return f"{sent.partition}/{sent.offset}"

    def reply(self, to: str) -> Any:
        """The first reply to a message."""

        def found() -> Any:
            self.collect()
            return next((r for r in self.replies if header(r, "ce_inboxposition") == to), None)

        return wait_until(found, f"a reply to {to}")

    def collect(self) -> int:
        """Look for replies; how many messages were answered by now."""
        for some in self._consumer.poll(timeout_ms=100).values():
            self.replies += some
        return len({header(record, "ce_inboxposition") for record in self.replies})

    def close(self) -> None:
        self._producer.close()
        self._consumer.close(autocommit=False)


def header(record: Any, name: str) -> str:
    return dict(record.headers)[name].decode()


def only(settings: Settings, *names: str) -> Settings:
    """The same installation, as it is seen by a process that knows these operators alone."""
    folder = settings.operators_folder.parent / f"only-{'-'.join(names)}"
    if not folder.exists():
        operators_folder(folder, *names)
    return settings.model_copy(update={"operators": folder})


@contextmanager
def running(settings: Settings, operator: str) -> Iterator[Inboxes]:
    made = inboxes(only(settings, operator), threads=2)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            made.run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join()
    assert not errors


@pytest.fixture(scope="module")
def at_work(cluster: Settings) -> Iterator[Settings]:
    with running(cluster, HERE):
        yield cluster


@pytest.fixture
def here(at_work: Settings) -> Iterator[Sender]:
    sender = Sender(at_work, HERE)
    yield sender
    sender.close()


def journalled(settings: Settings) -> list[tuple[UUID, str]]:
    """Every event's id with its message, and with its operator."""
    found = []
    for name in services():
        with psycopg.connect(settings.dsn_for(name, name)) as connection:
            for (value,) in connection.execute("SELECT value FROM journal.event"):
                meta = codec().open(value).meta
                found += [(meta.id, str(meta.message)), (meta.id, meta.operator)]
    return found


def test_a_message_becomes_events_and_the_reply_names_them(here: Sender, at_work: Settings) -> None:
    answer = here.reply(
        here.send(
            bundle(patient("m1"), condition("m2", to="Patient/m1"), observation("m3", to="Patient/m1")),
            key=b"\x00opaque\xff",
            ce_id=b"abc-1",
        )
    )
    assert (answer.key, header(answer, "ce_type"), header(answer, "ce_correlationid")) == (
        b"\x00opaque\xff",
        "epicrisis.inbox.accepted",
        "abc-1",
    )
    said = json.loads(answer.value)
    assert {name: len(ids) for name, ids in said["events"].items()} == {"registration": 1, "diagnosis": 1, "chart": 1}
    assert sorted(UUID(id) for ids in said["events"].values() for id in ids) == sorted(
        event for event, message in journalled(at_work) if message == said["message"]
    )
    assert [(e["resource"].split("/")[0], e["did"]) for e in said["entries"]] == [
        ("Patient", "created"),
        ("Condition", "created"),
        ("Observation", "created"),
    ]


def test_a_refused_message_gets_every_problem_and_is_in_quarantine(here: Sender, at_work: Settings) -> None:
    wrong = {"resourceType": "Patient", "gender": "banana", "birthDate": "soon"}
    answer = here.reply(here.send(json.dumps(wrong).encode(), key=None))
    assert (answer.key, header(answer, "ce_type"), header(answer, "content-type")) == (
        None,
        "epicrisis.inbox.refused",
        "application/fhir+json",
    )
    issues = json.loads(answer.value)["issue"]
    assert [i.get("expression") for i in issues] == [["Patient.gender"], ["Patient.birthDate"], None]
    (held,) = [row for row in quarantine(at_work, "auditor").rows(HERE) if str(row.id) in issues[2]["diagnostics"]]
    assert list(held.problems) == [("code-invalid", "Patient.gender"), ("value", "Patient.birthDate")]
    assert quarantine(at_work, "auditor").original(held).raw == json.dumps(wrong).encode()


def test_the_header_names_another_clinic_of_the_same_operator_and_no_other_operators(
    here: Sender, at_work: Settings
) -> None:
    def clinic_of(answer: Any) -> str:
        with psycopg.connect(at_work.dsn_for("intake", "intake")) as connection:
            message = json.loads(answer.value)["message"]
            (row,) = connection.execute("SELECT clinic FROM inbox.message WHERE id = %s", (message,)).fetchall()
            return str(row[0])

    for number, (source, clinic) in enumerate(
        [
            (b"urn:epicrisis:clinic:charite/onco", "charite/onco"),
            (b"https://his.example/adt", "charite/main"),
            (b"\xff", "charite/main"),
        ]
    ):
        answer = here.reply(here.send(bundle(patient(f"h{number}")), ce_source=source))
        assert clinic_of(answer) == clinic
    for source in (b"urn:epicrisis:clinic:charite-2/main", b"urn:epicrisis:clinic:charite/none", CLINIC.encode()):
        answer = here.reply(here.send(bundle(patient("h9")), ce_source=source))
        assert json.loads(answer.value)["issue"][0]["code"] == "forbidden"


def test_whatever_is_no_message_is_answered_and_the_next_one_goes_through(here: Sender) -> None:
    deep = b'{"resourceType":"Patient","extension":' * 3000
    odd = [
        None,
        b"",
        b"\x00",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        deep,
        b'{"resourceType":"Patient"}' + b" " * (17 << 20),
    ]
    asked = [here.send(value) for value in odd]
    asked.append(here.send(bundle(patient()), key=b"k" * 2000))
    last = here.send(bundle(patient("after")))
    answers = [here.reply(to) for to in asked]
    assert {header(a, "ce_type") for a in answers} == {"epicrisis.inbox.refused"}
    assert all(json.loads(a.value)["resourceType"] == "OperationOutcome" for a in answers)
    assert answers[-1].key is None
    assert header(here.reply(last), "ce_type") == "epicrisis.inbox.accepted"
    told = [header(r, "ce_inboxposition") for r in here.replies]
    for partition in {place.split("/")[0] for place in asked}:
        mine = [place for place in (*asked, last) if place.startswith(f"{partition}/")]
        assert [place for place in told if place.startswith(f"{partition}/")] == mine, "in order"
    assert len(told) == len(asked) + 1


def test_a_bomb_is_answered_and_the_next_one_goes_through(here: Sender, at_work: Settings) -> None:
    user = at_work.kafka(f"{OPERATOR}{HERE}")
    bomb = b" " * (CAP // 3)
    producer = KafkaProducer(
        **user, compression_type="gzip", linger_ms=2000, batch_size=1 << 28, max_request_size=1 << 28
    )
    futures = [producer.send(at_work.inbox(HERE), key=b"k", value=bomb) for _ in range(4)]
    producer.flush(30)
    places = [future.get(20) for future in futures]
    producer.close()
    after = here.send(bundle(patient("after")))
    assert header(here.reply(after), "ce_type") == "epicrisis.inbox.accepted"
    said = here.reply(f"{places[-1].partition}/{places[-1].offset}")
    assert "the batch holds more than" in json.loads(said.value)["issue"][0]["diagnostics"]


def test_a_header_that_is_not_text_is_answered_and_the_next_one_goes_through(here: Sender) -> None:
    class Odd(str):
        def encode(self, *_: Any) -> bytes:
            return b"\xff\xfe"

    to = here.send(bundle(patient()), **{})
    here.reply(to)
    sent = here._producer.send(here._inbox, key=b"k", value=b"{}", headers=[(Odd("x"), b"y")]).get(20)
    after = here.send(bundle(patient("after")))
    assert (
        "cannot be unpacked"
        in json.loads(here.reply(f"{sent.partition}/{sent.offset}").value)["issue"][0]["diagnostics"]
    )
    assert header(here.reply(after), "ce_type") == "epicrisis.inbox.accepted"


def test_a_process_that_starts_again_answers_nothing_twice_and_forgets_nothing(cluster: Settings) -> None:
    sender = Sender(cluster, THERE)
    first = sender.send(bundle(patient("r1")))
    with running(cluster, THERE):
        sender.reply(first)
    second = sender.send(bundle(patient("r2")))
    with running(cluster, THERE):
        sender.reply(second)
    assert [header(r, "ce_inboxposition") for r in sender.replies] == [first, second]
    sender.close()


def test_kill_9_at_any_moment_leaves_every_message_answered_and_every_event_once(cluster: Settings) -> None:
    settings, chance = only(cluster, KILLED), random.Random(7)
    sender = Sender(cluster, KILLED)
    good = {
        sender.send(bundle(patient(f"k{n}"), condition(f"c{n}", to=f"Patient/k{n}")), key=b"%d" % (n % 5)): n
        for n in range(40)
    }
    bad = [sender.send(raw, key=b"%d" % n) for n, raw in enumerate((b"{}", None, bundle(observation(to="Patient/no"))))]
    answered = 0
    for _ in range(2):
        role = Role(settings, "inbox", "--threads", "2")
        try:
            wait_until(lambda seen=answered: sender.collect() > seen + 3, "some more were answered", 60)
            time.sleep(chance.uniform(0, 0.1))
        finally:
            role.kill()
        answered = sender.collect()
    assert answered < len(good) + len(bad), "it was killed in the middle"
    with running(cluster, KILLED):
        for to in (*good, *bad):
            sender.reply(to)
    kinds = {
        to: {(header(r, "ce_type"), r.value) for r in sender.replies if header(r, "ce_inboxposition") == to}
        for to in (*good, *bad)
    }
    assert all(len(said) == 1 for said in kinds.values()), "the same message, the same answer"
    assert {kind for to in good for kind, _ in kinds[to]} == {"epicrisis.inbox.accepted"}
    assert {kind for to in bad for kind, _ in kinds[to]} == {"epicrisis.inbox.refused"}
    told = [
        UUID(id) for to in good for _, value in kinds[to] for ids in json.loads(value)["events"].values() for id in ids
    ]
    assert len(told) == len(set(told)) == 2 * len(good)
    assert sorted(told) == sorted(e for e, operator in journalled(cluster) if operator == KILLED)
    sender.close()


def test_what_the_command_prints_connects_the_operators_own_client(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "read", lambda: cluster.model_copy(update={"kafka_user": "somebody-elses"}))
    result = CliRunner().invoke(commands, ["kafka", HERE])
    printed = dict(line.split("=", 1) for line in result.stdout.splitlines())
    mine = cluster.kafka(f"{OPERATOR}{HERE}")
    assert (printed["bootstrap.servers"], printed["sasl.username"], printed["sasl.password"]) == (
        mine["bootstrap_servers"]
        if isinstance(mine["bootstrap_servers"], str)
        else ",".join(mine["bootstrap_servers"]),
        cluster.kafka_name(f"operator-{HERE}"),
        mine["sasl_plain_password"],
    )
    with pytest.raises(SettingsError, match=r"no manifest gives nobody an \[inbox\]"):
        raise CliRunner().invoke(commands, ["kafka", "nobody"]).exception or AssertionError


def test_the_doctor_finds_an_inbox_that_was_not_provisioned(cluster: Settings) -> None:
    assert operators(cluster).ok
    missing = operators(only(cluster, HERE, "new"))
    assert (missing.ok, missing.version) == (False, "2 manifests")
    assert missing.do.startswith("no inbox in Kafka yet for new: ")


def test_provisioning_again_changes_nothing_but_what_the_manifests_add(cluster: Settings) -> None:
    before = cluster.kafka(f"{OPERATOR}{HERE}")
    manifest = cluster.operators_folder / THERE / "manifest.toml"
    manifest.write_text(MANIFEST.format(name=THERE).replace("partitions = 2", "partitions = 3"), encoding="utf-8")
    provision(cluster)
    assert cluster.kafka(f"{OPERATOR}{HERE}") == before
    consumer = KafkaConsumer(**cluster.kafka(f"{OPERATOR}{THERE}"), group_id=None, enable_auto_commit=False)
    assert len(consumer.partitions_for_topic(cluster.inbox(THERE))) == 3
    assert len(consumer.partitions_for_topic(cluster.replies(THERE))) == 3
    consumer.close(autocommit=False)
