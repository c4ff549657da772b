"""Parking: one subject's events set aside for one consumer, visibly, in order, until a retry applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import psycopg

from epicrisis import logging
from epicrisis.errors import EpicrisisError, Poison
from epicrisis.projecting.batch import apply_or_fail
from epicrisis.projecting.delivery import Consumer, Cursor, Delivered
from epicrisis.projecting.positions import GAP, Positions
from epicrisis.sql import queries

_SQL = queries("epicrisis.projecting")
MAX_PARKED = 1_000
"""So many parked subjects of one consumer are a bug, not bad data: the worker stops."""

log = logging.get(__name__)

Decode = Callable[[int, int, bytes], Delivered]
Missing = Callable[[UUID, str, int, int], list[bytes]]
"""``(subject, source, first seq, last seq) -> record values``: where to fetch what is missing."""


def retry(cur: Cursor, consumer: Consumer, subject: UUID, decode: Decode, missing: Missing) -> int:
    """Apply the queue of a parked subject in order, until one fails; returns how many events still wait.

    What is missing before an event is fetched first. The partition's worker waits meanwhile, or this one for it.
    """
    cur.execute(_SQL["queue"], {"consumer": consumer.name, "subject": subject})
    queue = cur.fetchall()
    if not queue:
        return 0
    cur.execute(_SQL["hold"], {"consumer": consumer.name, "partition": queue[0][1]})
    cur.execute(_SQL["queue"], {"consumer": consumer.name, "subject": subject})
    queue = cur.fetchall()
    positions = Positions.load(cur, [consumer.name], [subject])
    done: list[int] = []
    stopped_by: str | None = None
    for id_, partition, offset, source, seq, _, value in queue:
        last = positions.last(consumer.name, subject, source)
        values = [value] if seq > last else []
        if seq > last + 1:
            fetched = _fetched(consumer, missing, subject, source, last + 1, seq - 1)
            if len(fetched) < seq - 1 - last:
                stopped_by = GAP
                break
            values = [*fetched, value]
        stopped_by = _apply(cur, consumer, positions, (decode(partition, offset, v) for v in values))
        if stopped_by:
            break
        done.append(id_)
    cur.execute(_SQL["unpark"], {"ids": done})
    left = queue[len(done) :]
    if left and stopped_by:
        if stopped_by != left[0][5]:
            log.error("subject stays parked", projection=consumer.name, subject=str(subject), reason=stopped_by)
        cur.execute(_SQL["still"], {"id": left[0][0], "reason": stopped_by})
    positions.save(cur)
    return len(left)


def _fetched(
    consumer: Consumer, missing: Missing, subject: UUID, source: str, first: int, last: int
) -> Sequence[bytes]:
    """What is missing; nothing where its journal does not answer: the gap stays, and the next look asks again."""
    try:
        return missing(subject, source, first, last)
    except (psycopg.Error, EpicrisisError) as error:
        log.warning("gap not filled", projection=consumer.name, subject=str(subject), service=source, error=error)
        return ()


def _apply(cur: Cursor, consumer: Consumer, positions: Positions, items: Iterator[Delivered]) -> str | None:
    """Apply these one by one; why the first that failed did."""
    try:
        for item in items:
            failures = apply_or_fail(cur, consumer, [item], item.partition)
            if failures:
                return failures[0].reason
            positions.settle(consumer.name, [item])
    except Poison as problem:  # a value that cannot even be opened
        return problem.reason
    return None


def waiting_for_gaps(cur: Cursor, consumers: Sequence[str], partitions: Sequence[int]) -> list[tuple[str, UUID]]:
    """The parked subjects of these partitions whose queue begins with a gap."""
    cur.execute(_SQL["gaps"], {"consumers": list(consumers), "partitions": list(partitions)})
    return [(consumer, subject) for consumer, subject, _, reason in cur if reason == GAP]


def set_aside(
    cur: Cursor, topic: str, partition: int, offset: int, reason: str, key: bytes | None, value: bytes | None
) -> None:
    """Keep a record that belongs to no subject, as it came."""
    cur.execute(
        _SQL["set_aside"],
        {"topic": topic, "partition": partition, "offset": offset, "reason": reason, "key": key, "value": value},
    )


def too_many(cur: Cursor, consumers: Sequence[str], limit: int = MAX_PARKED) -> None:
    """Stop where so many subjects are parked that it must be a bug.

    Raises
    ------
    EpicrisisError
        Naming the consumer.
    """
    for name in consumers:
        cur.execute(_SQL["parked_count"], {"consumer": name})
        row = cur.fetchone()
        if row and row[0] > limit:
            raise EpicrisisError(
                f"{name} has {row[0]} parked subjects: that is a bug, not bad data. "
                f"See `epicrisis parked list`, mend the projection, then `epicrisis parked retry`"
            )
