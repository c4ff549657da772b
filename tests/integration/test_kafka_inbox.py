"""The Kafka inboxes on a real broker: who may do what there, and messages from an inbox to events and replies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import GroupAuthorizationFailedError, KafkaError
from kafka.structs import OffsetAndMetadata

from epicrisis.provision import provision
from epicrisis.settings import OPERATOR, Settings
from tests.kernel_support import own_namespace

pytestmark = pytest.mark.servers
MANIFEST = """
title = "{name}"
country = "DE"
clinics = ["main", "onco"]

[inbox]
clinic = "main"
partitions = 2
"""
HERE, THERE = "charite", "charite-2"


def operators_folder(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.toml").write_text(MANIFEST.format(name=name), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = operators_folder(tmp_path_factory.mktemp("operators"), HERE, THERE)
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
            for _ in range(3):
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
    assert polled(cluster, HERE, cluster.replies(HERE)) == 1
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
