"""Make what an installation needs on its servers: databases, roles, tables, topics, users, rights. Idempotent."""

from __future__ import annotations

from epicrisis.provision import kafka, postgres
from epicrisis.provision.postgres import databases
from epicrisis.settings import Settings


def provision(settings: Settings) -> None:
    """Create or complete everything in this namespace; what is there already stays as it is.

    Needs the servers' administrators (``EPICRISIS_DSN``, ``EPICRISIS_KAFKA_USER``, or the local servers').
    """
    postgres.provision(settings)
    kafka.provision(settings)


def drop(settings: Settings) -> None:
    """Remove everything of this namespace, data included: for test runs."""
    kafka.drop(settings)
    postgres.drop(settings)
    settings.forget_secrets()


__all__ = ["databases", "drop", "provision"]
