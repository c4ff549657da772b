"""Records that can never be applied: set aside or parked where everybody sees it, and nobody else is held up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from kafka import KafkaProducer

from epicrisis import parked
from epicrisis.assembly import codec
from epicrisis.codec import MemoryKeyStore
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from tests.kernel_support import (
    MemoryLog,
    Pipeline,
    bundle,
    note,
    observation,
    own_namespace,
    patient,
    wait_until,
)

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers) as settings:
        yield settings


@pytest.fixture(scope="module")
def pipeline(cluster: Settings) -> Iterator[Pipeline]:
    with Pipeline(cluster) as running:
        yield running


@pytest.fixture(scope="module")
def anybody(cluster: Settings) -> Iterator[KafkaProducer]:
    """Somebody who may write to the topic, and writes nonsense."""
    producer = KafkaProducer(**cluster.kafka("admin"), acks="all", allow_auto_create_topics=False)
    yield producer
    producer.close()


def rows(cluster: Settings, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(cluster.dsn_for("cluster", "auditor")) as connection:
        return connection.execute(query, arguments).fetchall()


def good_value(subject: UUID) -> bytes:
    """An event as it should be, of a subject that nobody knows; its key is in no key store."""
    log = MemoryLog(MemoryKeyStore())
    value = log.add(subject, note("final")).value
    assert value
    return value


def unknown_schema(value: bytes) -> bytes:
    return value[:1] + (12345).to_bytes(4, "big") + value[5:]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda value: b"garbage", "not_framed"),
        (lambda value: b"", "not_framed"),
        (lambda value: None, "not_framed"),
        (unknown_schema, "unknown_schema"),
        (lambda value: value[: len(value) // 2], "bad_envelope"),
        (lambda value: value + b"x", "bad_envelope"),
    ],
    ids=["garbage", "empty", "null", "unknown-schema", "truncated", "too-much"],
)
def test_a_record_that_is_no_event_is_set_aside_and_the_next_is_readable(
    pipeline: Pipeline, cluster: Settings, anybody: KafkaProducer, spoil: Any, reason: str
) -> None:
    subject = uuid4()
    value = spoil(good_value(subject))
    for partition in range(cluster.partitions):
        anybody.send(cluster.topic(), key=subject.bytes, value=value, partition=partition)
    anybody.flush()
    own_id = f"p{uuid4().hex[:6]}"
    receipt = pipeline.send(bundle(patient(own_id), observation(f"o{own_id}", to=f"Patient/{own_id}")))
    pipeline.wait()
    readable = rows(cluster, "SELECT count(*) FROM read.cluster_chart WHERE NOT incomplete AND code <> ''")
    assert readable[0][0] >= 1
    assert receipt.total == 2
    found = rows(
        cluster, "SELECT count(*), min(reason), max(reason) FROM projection.poison WHERE key = %s", subject.bytes
    )
    assert found == [(cluster.partitions, reason, reason)]
    shown = [row for row in parked.listing(cluster) if row["consumer"] == "(set aside)" and row["reason"] == reason]
    assert len(shown) >= cluster.partitions


@pytest.mark.parametrize("key", [b"x" * 16, None], ids=["another", "none"])
def test_a_record_whose_key_is_not_its_subject_is_set_aside(
    pipeline: Pipeline, cluster: Settings, anybody: KafkaProducer, key: bytes | None
) -> None:
    subject = uuid4()
    sent = anybody.send(cluster.topic(), key=key, value=good_value(subject), partition=0).get(10)
    pipeline.wait()
    query = 'SELECT reason FROM projection.poison WHERE partition = 0 AND "offset" = %s'
    assert rows(cluster, query, sent.offset) == [("wrong_key",)]
    assert rows(cluster, "SELECT 1 FROM ledger.event WHERE subject = %s", subject) == []


def test_an_event_whose_key_is_lost_parks_its_subject_and_is_in_the_ledger(
    pipeline: Pipeline, cluster: Settings, anybody: KafkaProducer
) -> None:
    subject = uuid4()
    partition = partition_of(slice_of(subject), cluster.partitions)
    value = good_value(subject)
    anybody.send(cluster.topic(), key=subject.bytes, value=value, partition=partition)
    anybody.flush()
    pipeline.wait()
    found = rows(cluster, "SELECT consumer, reason FROM projection.parked WHERE subject = %s ORDER BY 1", subject)
    assert ("cluster_chart_v3", "key_lost") in found
    assert {reason for _, reason in found} == {"key_lost"}
    assert rows(cluster, "SELECT value FROM ledger.event WHERE subject = %s", subject) == [(value,)]
    (shown,) = [row for row in parked.queue(cluster, subject) if row["consumer"] == "cluster_chart_v3"]
    assert (shown["reason"], shown["type"]) == ("key_lost", "chart.ResourceRecorded")


def test_an_event_that_was_damaged_on_its_way_is_fetched_from_the_journal(
    pipeline: Pipeline, cluster: Settings, anybody: KafkaProducer
) -> None:
    """The record is garbage, its successor shows the gap, the journal has what was meant."""
    own_id = f"p{uuid4().hex[:6]}"
    first = pipeline.send(bundle(patient(own_id), observation(f"a{own_id}", to=f"Patient/{own_id}")))
    pipeline.wait()
    (subject,) = rows(
        cluster, "SELECT subject FROM ledger.event WHERE source = 'chart' ORDER BY recorded DESC LIMIT 1"
    )[0]
    # The relay believes that the second event was sent: its cursor is moved by hand, under the slice's lock.
    at = slice_of(subject)
    raw = bundle(observation(f"b{own_id}", to=f"Patient/{own_id}"))
    with psycopg.connect(cluster.admin_dsn(cluster.database("chart"))) as connection:
        connection.execute("SELECT 1 FROM journal.relay WHERE slice = %s FOR UPDATE", (at,))
        connection.execute("UPDATE journal.relay SET pos = 1000000000 WHERE slice = %s", (at,))
        connection.commit()
        second = pipeline.send(raw)
        (pos,) = connection.execute("SELECT pos FROM journal.tail WHERE slice = %s", (at,)).fetchone() or (0,)
        connection.execute("UPDATE journal.relay SET pos = %s WHERE slice = %s", (pos, at))
    anybody.send(cluster.topic(), key=subject.bytes, value=b"damaged", partition=partition_of(at, cluster.partitions))
    anybody.flush()
    third = pipeline.send(bundle(observation(f"c{own_id}", to=f"Patient/{own_id}")))
    query = "SELECT seq FROM ledger.event WHERE subject = %s AND source = 'chart' ORDER BY n"
    wait_until(lambda: rows(cluster, query, subject) == [(1,), (2,), (3,)], "the ledger has all three")
    chart = (
        "SELECT count(*) FROM read.cluster_chart"
        " WHERE subject = %s AND resource_type = 'Observation' AND NOT incomplete"
    )
    wait_until(lambda: rows(cluster, chart, subject) == [(3,)], "all three are readable")
    assert first.total + second.total + third.total == 4
    wait_until(lambda: not rows(cluster, "SELECT 1 FROM projection.parked WHERE subject = %s", subject), "unparked")


def test_nothing_of_a_poisoned_record_is_shown(
    pipeline: Pipeline, cluster: Settings, anybody: KafkaProducer, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = f"Meier-{uuid4().hex}"
    anybody.send(cluster.topic(), key=secret.encode(), value=json.dumps({"family": secret}).encode(), partition=1)
    anybody.flush()
    pipeline.wait()
    listed = repr(parked.listing(cluster))
    out, err = capfd.readouterr()
    assert "record set aside" in err
    assert secret not in listed + out + err


def test_the_codec_names_what_is_wrong_and_never_the_value() -> None:
    secret = b"Meier 1971-03-04 C50.4"
    for value in (secret, b"\x00" + secret, good_value(uuid4())[:40] + secret):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            codec().open(value)
        assert "Meier" not in f"{caught.value!r} {caught.value.__context__!r}".replace("codec can't decode", "")
