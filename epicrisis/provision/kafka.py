"""The topics, the users and their rights in Kafka."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from epicrisis.codec import MAX_BATCH
from epicrisis.errors import Unreachable
from epicrisis.operators import Operator, read_operators
from epicrisis.settings import OPERATOR, Settings

USERS = ("relay", "worker", "auditor", "inbox")
"""The logical users: a relay may write the log, a worker and an auditor may read it; nobody may do both. `inbox` takes
messages from the operators' inboxes and answers them. Each operator with an inbox has a user of its own beside them.
"""
LIMIT = "max.message.bytes"
INBOX_DAYS = 7
"""Messages to the inboxes are not sealed: they stay no longer than an outage may last."""


def provision(settings: Settings) -> None:
    """Make the topic, the SCRAM users and their ACLs, where they are missing."""
    admin = KafkaAdminClient(**settings.kafka("admin"), client_id="epicrisis-provision")
    try:
        operators = with_inbox(settings)
        _topic(admin, settings)
        _inboxes(admin, settings, operators)
        if settings.kafka_security.startswith("SASL_"):
            _users(admin, settings, operators)
            admin.create_acls(acls(settings, operators))
    finally:
        admin.close()


def with_inbox(settings: Settings) -> dict[str, Operator]:
    """The operators whose manifests say that they have an inbox."""
    return {name: one for name, one in read_operators(settings.operators_folder).items() if one.inbox is not None}


def _topic(admin: Any, settings: Settings) -> None:
    topic = settings.topic()
    if topic in admin.list_topics():
        _raise_limit(admin, topic)
        return
    admin.create_topics(
        {
            topic: {
                "num_partitions": settings.partitions,
                "replication_factor": settings.kafka_replication,
                "configs": {
                    "cleanup.policy": "delete",
                    "retention.ms": "-1",
                    "retention.bytes": "-1",
                    LIMIT: str(MAX_BATCH),
                    "min.insync.replicas": str(max(1, settings.kafka_replication - 1)),
                    "message.timestamp.type": "CreateTime",
                },
            }
        },
        wait_for_metadata=True,
    )


def _raise_limit(admin: Any, topic: str) -> None:
    """A topic of an earlier release may take less than the codec writes: such an event would hold its slice up."""
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])["topic"][topic]
    if int(found[LIMIT]["value"]) < MAX_BATCH:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={LIMIT: str(MAX_BATCH)})])


def _inboxes(admin: Any, settings: Settings, operators: Mapping[str, Operator]) -> None:
    """An inbox and its replies for each operator, with as many partitions as its manifest says."""
    wanted = {
        topic: operator.inbox.partitions
        for name, operator in operators.items()
        if operator.inbox is not None
        for topic in (settings.inbox(name), settings.replies(name))
    }
    there = {topic: 0 for topic in admin.list_topics() if topic in wanted}
    if there:
        there = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(list(there))}
    if new := {topic: _passing(settings, count) for topic, count in wanted.items() if topic not in there}:
        admin.create_topics(new, wait_for_metadata=True)
    if more := {topic: wanted[topic] for topic, count in there.items() if count < wanted[topic]}:
        admin.create_partitions(more)


def _passing(settings: Settings, partitions: int) -> dict[str, Any]:
    """A topic through which messages pass. The broker's clock says when they go: a sender's may be wrong by years."""
    return {
        "num_partitions": partitions,
        "replication_factor": settings.kafka_replication,
        "configs": {
            "cleanup.policy": "delete",
            "retention.ms": str(INBOX_DAYS * 24 * 3600 * 1000),
            LIMIT: str(MAX_BATCH),
            "min.insync.replicas": str(max(1, settings.kafka_replication - 1)),
            "message.timestamp.type": "LogAppendTime",
        },
    }


def _users(admin: Any, settings: Settings, operators: Mapping[str, Operator]) -> None:
    answers = admin.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(
                settings.kafka_name(user),
                ScramMechanism.SCRAM_SHA_512,
                settings.kafka_secret(user, create=True),
                iterations=4096,
            )
            for user in (*USERS, *(f"{OPERATOR}{name}" for name in operators))
        ]
    )
    refused = [user for user, error in answers.items() if error]
    if refused:
        raise Unreachable(f"Kafka did not make the users {', '.join(refused)}: is the administrator allowed to?")


def acls(settings: Settings, operators: Iterable[str] = ()) -> list[ACL]:
    """The whole table of rights on this namespace's topics and groups."""
    topic = ResourcePattern(ResourceType.TOPIC, settings.topic())
    groups = ResourcePattern(ResourceType.GROUP, settings.group(""), ACLResourcePatternType.PREFIXED)
    inboxes = ResourcePattern(ResourceType.TOPIC, settings.inbox(""), ACLResourcePatternType.PREFIXED)
    replies = ResourcePattern(ResourceType.TOPIC, settings.replies(""), ACLResourcePatternType.PREFIXED)
    rights = [
        ("relay", topic, ACLOperation.WRITE),
        ("relay", topic, ACLOperation.DESCRIBE),
        ("worker", topic, ACLOperation.READ),
        ("worker", topic, ACLOperation.DESCRIBE),
        ("worker", groups, ACLOperation.READ),
        ("auditor", topic, ACLOperation.READ),
        ("auditor", topic, ACLOperation.DESCRIBE),
        ("inbox", inboxes, ACLOperation.READ),
        ("inbox", inboxes, ACLOperation.DESCRIBE),
        ("inbox", replies, ACLOperation.WRITE),
        ("inbox", replies, ACLOperation.DESCRIBE),
    ]
    for name in operators:
        user, inbox = f"{OPERATOR}{name}", ResourcePattern(ResourceType.TOPIC, settings.inbox(name))
        own = ResourcePattern(ResourceType.TOPIC, settings.replies(name))
        # (No operator's name holds a dot: no group of another one's begins like this.)
        own_groups = ResourcePattern(
            ResourceType.GROUP, settings.group(f"replies.{name}."), ACLResourcePatternType.PREFIXED
        )
        rights += [
            (user, inbox, ACLOperation.WRITE),
            (user, inbox, ACLOperation.DESCRIBE),
            (user, own, ACLOperation.READ),
            (user, own, ACLOperation.DESCRIBE),
            (user, own_groups, ACLOperation.READ),
        ]
    return [
        ACL(f"User:{settings.kafka_name(user)}", "*", operation, ACLPermissionType.ALLOW, pattern)
        for user, pattern, operation in rights
    ]


def drop(settings: Settings) -> None:
    """Remove the topics, the users' rights, and their passwords.

    The users' names stay, with passwords that nobody knows: Kafka 4.3.1 forgets every SCRAM user at its next start,
    the administrator too, if it reads back a deleted user before another one (its ScramDelta drops the whole table
    once it is empty in between; the order is that of a hash map).
    """
    admin = KafkaAdminClient(**settings.kafka("admin"), client_id="epicrisis-provision")
    try:
        passing = (settings.inbox(""), settings.replies(""))
        mine = [name for name in admin.list_topics() if name == settings.topic() or name.startswith(passing)]
        if mine:
            admin.delete_topics(mine)
        if not settings.kafka_security.startswith("SASL_"):
            return
        anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        for user in (*USERS, *(f"{OPERATOR}{name}" for name in with_inbox(settings))):
            name = settings.kafka_name(user)
            admin.delete_acls([ACLFilter(f"User:{name}", None, ACLOperation.ANY, ACLPermissionType.ANY, anything)])
            lost = UserScramCredentialUpsertion(
                name, ScramMechanism.SCRAM_SHA_512, secrets.token_urlsafe(32), iterations=4096
            )
            admin.alter_user_scram_credentials([lost])
    finally:
        admin.close()
