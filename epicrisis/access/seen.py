"""The access log: who has seen what of a patient, and which glasses were broken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.access.api import numbers
from epicrisis.database import briefly
from epicrisis.settings import Settings
from epicrisis.sql import queries

_SQL = queries("epicrisis.access")


def delivered(
    cur: psycopg.Cursor[Any], operator: str, patient: UUID, until: datetime | None = None
) -> dict[tuple[str, int], datetime]:
    """By (service, seq), the key of the ledger for this patient: when an event was first given to this operator.

    ``cur`` is on the database ``cluster``, as a role that may read the access log (``auditor``, ``reader``). Only what
    was read is in it, over HTTP and by whatever else records its accesses; what the operator wrote itself it knows by
    the envelope (``Meta.operator``), from when it was recorded. Every version that left counts, in a search as in a
    history; what was left out, refused, or only counted does not. The access log follows the journal by some
    milliseconds, like all read models.
    """
    found: dict[tuple[str, int], datetime] = {}
    cur.execute(_SQL["delivered"], {"operator": operator, "patient": patient, "until": until})
    for recorded, by_source in cur:
        for source, seqs in by_source.items():
            for seq in numbers(seqs):
                found.setdefault((source, seq), recorded)
    return found


def log(settings: Settings, patient: UUID, since: datetime | None = None) -> list[dict[str, Any]]:
    """Who was given what of a patient, the newest first; ``events``: how many of the record's events left."""
    rows = _rows(settings, "log", patient=patient, since=since)
    for row in rows:
        row["events"] = sum(len(numbers(seqs)) for seqs in row["delivered"].values())
    return rows


def glasses(settings: Settings) -> list[dict[str, Any]]:
    """Every glass that was ever broken, the oldest first. ``state``: broken, over or reviewed."""
    rows = _rows(settings, "glasses")
    now = datetime.now(UTC)
    for row in rows:
        over = row["ended"] is not None or row["until"] is None or row["until"] <= now
        row["state"] = "reviewed" if row["reviewed"] else "over" if over else "broken"
    return rows


def _rows(settings: Settings, name: str, **parameters: Any) -> list[dict[str, Any]]:
    with briefly(settings.dsn_for("cluster", "auditor"), name="cluster") as database, database.session() as cur:
        cur.execute(_SQL[name], parameters)
        columns = [column.name for column in cur.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cur]
