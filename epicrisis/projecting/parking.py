"""Parking: one subject's events set aside for one consumer, visibly, in order, until a retry applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import psycopg

from epicrisis import logging
from epicrisis.errors import EpicrisisError, Poison
from epicrisis.projecting.batch import apply_or_fail
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Consumer, Delivered
from epicrisis.projecting.positions import GAP, Positions
from epicrisis.projecting.store import Store, Transaction

MAX_PARKED = 1_000
"""So many parked subjects of one consumer are a bug, not bad data: the worker stops."""

log = logging.get(__name__)

Missing = Callable[[UUID, str, int, int], list[bytes]]
"""``(subject, source, first seq, last seq) -> record values``: where to fetch what is missing."""


def retry_one(store: Store, consumer: Consumer, subject: UUID, decoder: Decoder, missing: Missing) -> int:
    """Apply the queue of a parked subject in order, until one fails; returns how many events still wait.

    What is missing before an event is fetched first. The partition's worker waits meanwhile, or this one for it.
    """
    with store.transaction() as at:
        left = _retry(at, consumer, subject, decoder, missing)
    if not left:
        log.info("subject unparked", projection=consumer.name, subject=str(subject))
    return left


def _retry(at: Transaction, consumer: Consumer, subject: UUID, decoder: Decoder, missing: Missing) -> int:
    queue = at.queue(consumer.name, subject)
    if not queue:
        return 0
    at.hold([consumer.name], [queue[0].partition])
    queue = at.queue(consumer.name, subject)
    positions = Positions.load(at, [consumer.name], [subject])
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
        stopped_by = _apply(at, consumer, positions, (decoder.one(partition, offset, v) for v in values))
        if stopped_by:
            break
        done.append(id_)
    at.unpark(done)
    left = queue[len(done) :]
    if left and stopped_by:
        if stopped_by != left[0].reason:
            log.error("subject stays parked", projection=consumer.name, subject=str(subject), reason=stopped_by)
        at.still(left[0].id, stopped_by)
    positions.save(at)
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


def _apply(at: Transaction, consumer: Consumer, positions: Positions, items: Iterator[Delivered]) -> str | None:
    """Apply these one by one; why the first that failed did."""
    try:
        for item in items:
            item.n = positions.next_n(consumer.name, item.meta.subject)
            failures = apply_or_fail(at, consumer, [item], item.partition)
            if failures:
                return failures[0].reason
            positions.settle(consumer.name, [item])
    except Poison as problem:  # a value that cannot even be opened
        return problem.reason
    return None


def waiting_for_gaps(at: Transaction, consumers: Sequence[str], partitions: Sequence[int]) -> list[tuple[str, UUID]]:
    """The parked subjects of these partitions whose queue begins with a gap."""
    return [(c, subject) for c, subject, reason in at.first_reasons(consumers, partitions) if reason == GAP]


def too_many(at: Transaction, consumers: Sequence[str], limit: int = MAX_PARKED) -> None:
    """Stop where so many subjects are parked that it must be a bug.

    Raises
    ------
    EpicrisisError
        Naming the consumer.
    """
    for name in consumers:
        count = at.parked_count(name)
        if count > limit:
            raise EpicrisisError(
                f"{name} has {count} parked subjects: that is a bug, not bad data. "
                f"See `epicrisis parked list`, mend the projection, then `epicrisis parked retry`"
            )
