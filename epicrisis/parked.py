"""What operators do about parked subjects: list, look, retry."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from epicrisis.assembly import codec, consumers, decoder, missing
from epicrisis.database import Database
from epicrisis.errors import Poison
from epicrisis.settings import Settings
from epicrisis.sql import queries
from epicrisis.worker import retry_one

_SQL = queries("epicrisis.projecting")


def listing(settings: Settings) -> list[dict[str, Any]]:
    """A row per parked subject and consumer, and per record that was set aside."""
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    with database.transaction() as cur:
        cur.execute(_SQL["parked_list"])
        names = [c.name for c in cur.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cur]
        cur.execute(_SQL["poison_list"])
        for _, partition, offset, reason, found_at, _ in cur:
            rows.append(
                {"consumer": "(set aside)", "partition": partition, "offset": offset, "events": 1, "reason": reason}
                | {"since": found_at}
            )
    database.close()
    return rows


def queue(settings: Settings, subject: UUID) -> list[dict[str, Any]]:
    """The waiting events of a subject, per consumer, in order, without their content."""
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    rows: list[dict[str, Any]] = []
    with database.transaction() as cur:
        cur.execute(_SQL["parked_list"])
        names = [consumer for consumer, parked, *_ in cur.fetchall() if parked == subject]
        for name in names:
            cur.execute(_SQL["queue"], {"consumer": name, "subject": subject})
            for _, partition, offset, source, seq, reason, value in cur:
                row = {"consumer": name, "partition": partition, "offset": offset, "source": source, "seq": seq}
                try:
                    meta = codec().open(value).meta
                    row |= {"type": meta.type, "stream": meta.stream, "recorded": meta.recorded}
                except Poison as poison:
                    row |= {"type": poison.reason}
                rows.append(row | {"reason": reason})
    database.close()
    return rows


def retry(settings: Settings, subject: UUID | None = None, projection: str | None = None) -> list[dict[str, Any]]:
    """Retry all parked subjects, or those asked for; a row each with how many events were applied and still wait."""
    wanted = [
        (row["consumer"], row["subject"], row["events"])
        for row in listing(settings)
        if "subject" in row and (subject is None or row["subject"] == subject)
    ]
    by_name = {c.name: c for c in consumers([projection] if projection else [])}
    database = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
    unseal, fetch = decoder(settings, list(by_name.values())), missing(settings)
    rows: list[dict[str, Any]] = []
    for name, who, events in wanted:
        if name in by_name:
            left = retry_one(database, by_name[name], who, unseal, fetch)
            rows.append({"consumer": name, "subject": who, "applied": events - left, "waiting": left})
    database.close()
    return rows
