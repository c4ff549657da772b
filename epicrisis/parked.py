"""What operators do about parked subjects: list, look, retry."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

from epicrisis.assembly import codec, decoder, followed, missing
from epicrisis.database import briefly
from epicrisis.errors import EpicrisisError, Poison, Refused
from epicrisis.projecting.batch import Held, run_batch
from epicrisis.projecting.generations import BUILDING, generations
from epicrisis.projecting.parking import retry_one
from epicrisis.projecting.positions import Positions
from epicrisis.projecting.postgres import PostgresStore, PostgresTransaction
from epicrisis.settings import Settings
from epicrisis.sql import queries

_SQL = queries("epicrisis.projecting")


def listing(settings: Settings) -> list[dict[str, Any]]:
    """A row per parked subject and consumer, and per record that was set aside."""
    with briefly(settings.dsn_for("cluster", "auditor"), name="cluster") as database, database.transaction() as cur:
        cur.execute(_SQL["parked_list"])
        names = [c.name for c in cur.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cur]
        cur.execute(_SQL["poison_list"])
        for _, partition, offset, reason, found_at, _ in cur:
            rows.append(
                {"consumer": "(set aside)", "partition": partition, "offset": offset, "events": 1, "reason": reason}
                | {"since": found_at}
            )
    return rows


def queue(settings: Settings, subject: UUID) -> list[dict[str, Any]]:
    """The waiting events of a subject, per consumer, in order, without their content."""
    rows: list[dict[str, Any]] = []
    with briefly(settings.dsn_for("cluster", "auditor"), name="cluster") as database, database.transaction() as cur:
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
    return rows


def retry(settings: Settings, subject: UUID | None = None, projection: str | None = None) -> list[dict[str, Any]]:
    """Retry all parked subjects, or those asked for; a row each with how many events were applied and still wait."""
    wanted = [
        (row["consumer"], row["subject"], row["events"])
        for row in listing(settings)
        if "subject" in row and (subject is None or row["subject"] == subject)
    ]
    rows: list[dict[str, Any]] = []
    with briefly(settings.dsn_for("cluster", "worker"), name="cluster") as database:
        with database.transaction() as cur:
            by_name = {c.name: c for c in followed(cur, [projection] if projection else [])}
        store, unseal, fetch = PostgresStore(database), decoder(settings), missing(settings)
        for name, who, events in wanted:
            if name in by_name:
                left = retry_one(store, by_name[name], who, unseal, fetch)
                rows.append({"consumer": name, "subject": who, "applied": events - left, "waiting": left})
    return rows


def record(settings: Settings, partition: int, offset: int) -> dict[str, Any]:
    """What is known of a record that was set aside, and whether this release can read it; nothing of its content."""
    with briefly(settings.dsn_for("cluster", "auditor"), name="cluster") as database, database.transaction() as cur:
        key, value, reason, found_at = _set_aside(cur, settings, partition, offset)
    try:
        now = f"readable: {codec().open(value or b'').meta.type}"
    except Poison as poison:
        now = poison.reason
    return {
        "partition": partition,
        "offset": offset,
        "key": str(UUID(bytes=key)) if key is not None and len(key) == 16 else "no subject",
        "bytes": len(value or b""),
        "reason": reason,
        "since": found_at,
        "now": now,
    }


def retry_record(settings: Settings, partition: int, offset: int) -> list[dict[str, Any]]:
    """Hand a record that was set aside to every consumer of its partition, as a worker would; a row for each.

    Who has applied its event already (it was fetched from the journal meanwhile) leaves it at that.

    Raises
    ------
    EpicrisisError
        It still cannot be read: it stays where it is.
    """
    with briefly(settings.dsn_for("cluster", "worker"), name="cluster") as database, database.transaction() as cur:
        if any(g.state == BUILDING for g in generations(cur)):
            raise Refused("a read model is being rebuilt, and would miss this record: retry when that has ended")
        some = followed(cur)
        names, at = [c.name for c in some], PostgresTransaction(cur)
        at.hold(names, [partition])
        cur.execute(_SQL["lag"])  # who has not come so far yet will read it off the log
        held = {(name, p): (offset, epoch) for name, p, to, epoch in cur if p == partition and to > offset}
        key, value, *_ = _set_aside(cur, settings, partition, offset)
        unseal = decoder(settings)
        try:
            item = unseal.envelope(partition, offset, key or b"", value or b"")
            unseal.bodies([item])
        except Poison as poison:
            raise EpicrisisError(
                f"the record at partition {partition}, offset {offset} still cannot be read ({poison.reason}): "
                "it stays set aside; upgrade, or find out who wrote it"
            ) from None
        meta, following = item.meta, [c for c in some if (c.name, partition) in held]
        before = Positions.load(at, names, [meta.subject])
        parked = run_batch(at, following, [item], Held(held), {partition: offset})  # the offsets stay
        cur.execute(_SQL["poison_read"], _place(settings, partition, offset))
    rows: list[dict[str, Any]] = []
    for name in (c.name for c in following):
        known = before.last(name, meta.subject, meta.source) >= meta.seq
        outcome = "known already" if known else "parked" if parked[name] else "applied"
        rows.append({"consumer": name, "subject": meta.subject, "outcome": outcome})
    return rows


def _set_aside(cur: psycopg.Cursor[Any], settings: Settings, partition: int, offset: int) -> tuple[Any, ...]:
    cur.execute(_SQL["poison_one"], _place(settings, partition, offset))
    found: tuple[Any, ...] | None = cur.fetchone()
    if found is None:
        raise Refused(
            f"no record was set aside at partition {partition}, offset {offset}: `epicrisis parked list` shows them"
        )
    return found


def _place(settings: Settings, partition: int, offset: int) -> dict[str, Any]:
    return {"topic": settings.topic(), "partition": partition, "offset": offset}
