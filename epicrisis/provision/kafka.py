"""The topic, the users and their rights in Kafka."""

from __future__ import annotations

import secrets
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
from epicrisis.settings import Settings

USERS = ("relay", "worker", "auditor")
"""The logical users: a relay may write the log, a worker and an auditor may read it; nobody may do both."""
LIMIT = "max.message.bytes"


def provision(settings: Settings) -> None:
    """Make the topic, the SCRAM users and their ACLs, where they are missing."""
    admin = KafkaAdminClient(**settings.kafka("admin"), client_id="epicrisis-provision")
    try:
        _topic(admin, settings)
        if settings.kafka_security.startswith("SASL_"):
            _users(admin, settings)
            admin.create_acls(acls(settings))
    finally:
        admin.close()


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


def _users(admin: Any, settings: Settings) -> None:
    answers = admin.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(
                settings.kafka_name(user),
                ScramMechanism.SCRAM_SHA_512,
                settings.secret(f"kafka.{user}", create=True),
                iterations=4096,
            )
            for user in USERS
        ]
    )
    refused = [user for user, error in answers.items() if error]
    if refused:
        raise Unreachable(f"Kafka did not make the users {', '.join(refused)}: is the administrator allowed to?")


def acls(settings: Settings) -> list[ACL]:
    """The whole table of rights on this namespace's topics and groups."""
    topic = ResourcePattern(ResourceType.TOPIC, settings.topic())
    groups = ResourcePattern(ResourceType.GROUP, settings.group(""), ACLResourcePatternType.PREFIXED)
    rights = [
        ("relay", topic, ACLOperation.WRITE),
        ("relay", topic, ACLOperation.DESCRIBE),
        ("worker", topic, ACLOperation.READ),
        ("worker", topic, ACLOperation.DESCRIBE),
        ("worker", groups, ACLOperation.READ),
        ("auditor", topic, ACLOperation.READ),
        ("auditor", topic, ACLOperation.DESCRIBE),
    ]
    return [
        ACL(f"User:{settings.kafka_name(user)}", "*", operation, ACLPermissionType.ALLOW, pattern)
        for user, pattern, operation in rights
    ]


def drop(settings: Settings) -> None:
    """Remove the topic, the users' rights, and their passwords.

    The users' names stay, with passwords that nobody knows: Kafka 4.3.1 forgets every SCRAM user at its next start,
    the administrator too, if it reads back a deleted user before another one (its ScramDelta drops the whole table
    once it is empty in between; the order is that of a hash map).
    """
    admin = KafkaAdminClient(**settings.kafka("admin"), client_id="epicrisis-provision")
    try:
        if settings.topic() in admin.list_topics():
            admin.delete_topics([settings.topic()])
        if not settings.kafka_security.startswith("SASL_"):
            return
        anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        for user in USERS:
            name = settings.kafka_name(user)
            admin.delete_acls([ACLFilter(f"User:{name}", None, ACLOperation.ANY, ACLPermissionType.ANY, anything)])
            lost = UserScramCredentialUpsertion(
                name, ScramMechanism.SCRAM_SHA_512, secrets.token_urlsafe(32), iterations=4096
            )
            admin.alter_user_scram_credentials([lost])
    finally:
        admin.close()
