"""The role `inbox`, put together from the settings."""

from __future__ import annotations

from epicrisis import assembly
from epicrisis.database import Database
from epicrisis.doors.kafka_inbox.judge import Judge
from epicrisis.doors.kafka_inbox.places import Leases, PostgresPlaces
from epicrisis.doors.kafka_inbox.run import Broker, Inboxes
from epicrisis.operators import read_operators
from epicrisis.settings import Settings


def inboxes(settings: Settings, threads: int = 4) -> Inboxes:
    """A process that takes from every inbox that a manifest names."""
    dsn = settings.dsn_for("intake", "intake")
    quarantine = assembly.quarantine(settings)
    return Inboxes(
        settings,
        broker=Broker.of(settings),
        operators=lambda: {
            name: one for name, one in read_operators(settings.operators_folder).items() if one.inbox is not None
        },
        judge=lambda: Judge(assembly.intake(settings), quarantine),
        places=PostgresPlaces(Database(dsn, size=threads + 1, name="intake")),
        leases=Leases(dsn),
        threads=threads,
    )
