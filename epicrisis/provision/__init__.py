"""Make what an installation needs on its servers: databases, roles, tables, topics, users, rights. Idempotent."""

from __future__ import annotations

from epicrisis.provision import kafka, postgres
from epicrisis.provision.postgres import databases
from epicrisis.settings import Settings


def provision(settings: Settings) -> list[str]:
    """Create or complete everything in this namespace; what is there already stays as it is.

    Returns the projections of which another version is read than the code's: `epicrisis rebuild` makes that.

    Needs the servers' administrators (``EPICRISIS_DSN``, ``EPICRISIS_KAFKA_USER``, or the local servers').
    """
    to_rebuild = postgres.provision(settings)
    kafka.provision(settings)
    return to_rebuild


def drop(settings: Settings) -> None:
    """Remove everything of this namespace, data included: for test runs."""
    kafka.drop(settings)
    postgres.drop(settings)
    settings.forget_secrets()


__all__ = ["databases", "drop", "provision"]
