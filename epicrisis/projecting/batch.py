"""One batch of the log through all consumers of a worker, in one transaction with their offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import psycopg

from epicrisis.errors import Zombie
from epicrisis.projecting.delivery import QUEUED, Consumer, Delivered, Failure
from epicrisis.projecting.positions import Positions
from epicrisis.projecting.store import Move, Parked, Transaction

TAKEN_OVER = "another worker has taken over one of this worker's partitions"
UNWRITABLE = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,  # e.g. a key too long for its index
    AttributeError,
    ArithmeticError,
    TypeError,
    ValueError,
)
"""What a row raises that cannot be written: its own fault, however often it is tried."""


class Held:
    """The offsets that this worker may move: per consumer and partition the next one and the epoch."""

    def __init__(self, rows: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        self.at = dict(rows)

    @classmethod
    def take(cls, at: Transaction, consumers: Sequence[str], partitions: Sequence[int]) -> Held:
        """Take these partitions over: whoever held them before can no longer move their offsets."""
        return cls(at.take(consumers, partitions))

    @property
    def partitions(self) -> set[int]:
        """Those that this worker has."""
        return {partition for _, partition in self.at}

    def next_offset(self, partition: int) -> int:
        """Where to read on: the least that any consumer needs."""
        return min(offset for (_, p), (offset, _) in self.at.items() if p == partition)

    def drop(self, partitions: Sequence[int]) -> None:
        """These are somebody else's now."""
        self.at = {place: held for place, held in self.at.items() if place[1] not in partitions}


def run_batch(
    at: Transaction,
    consumers: Sequence[Consumer],
    items: Sequence[Delivered],
    held: Held,
    upto: Mapping[int, int],
    *,
    careful: bool = True,
) -> Counter[str]:
    """Apply ``items`` (in log order per partition) and move the offsets to ``upto`` (per partition).

    Returns how many subjects-to-be-parked each consumer had. The caller commits, then calls `moved`.
    Not ``careful``: saves the savepoints; where a row cannot be written, it raises one of `UNWRITABLE` instead of
    finding out whose it is, and the caller has to roll back and to do it again, carefully.

    Raises
    ------
    Zombie
        Somebody else has taken one of these partitions over: roll back and give it up.
    """
    _hold(at, consumers, held, upto)
    positions = Positions.load(at, [c.name for c in consumers], {i.meta.subject for i in items})
    parked: Counter[str] = Counter()
    shard = min(held.partitions)  # of this worker alone, and the same for all its batches
    first = {i.partition: i.offset for i in reversed(items)}
    for consumer in consumers:
        own = items
        if any(held.at[consumer.name, partition][0] > offset for partition, offset in first.items()):
            own = [i for i in items if i.offset >= held.at[consumer.name, i.partition][0]]
        apply, waiting = positions.admit(consumer.name, own)
        failed_now = apply_or_fail(at, consumer, apply, shard) if careful else consumer.apply(at, apply, shard)
        failures = waiting + failed_now
        if failures:
            failed = {id(f.delivered) for f in failures}
            apply = [i for i in apply if id(i) not in failed]
        positions.settle(consumer.name, apply)
        for failure in sorted(failures, key=lambda f: (f.delivered.partition, f.delivered.offset)):
            park(at, consumer.name, failure)
        parked[consumer.name] += len({f.delivered.meta.subject for f in failures})
    positions.save(at)
    _move(at, consumers, held, upto)
    return +parked


def _hold(at: Transaction, consumers: Sequence[Consumer], held: Held, upto: Mapping[int, int]) -> None:
    """Lock the offsets first: a retry that empties a queue comes before this batch or after it, never in between."""
    now = at.hold([c.name for c in consumers], list(upto))
    if any(now.get((c.name, p)) != held.at[c.name, p][1] for c in consumers for p in upto):
        raise Zombie(TAKEN_OVER)


def _move(at: Transaction, consumers: Sequence[Consumer], held: Held, upto: Mapping[int, int]) -> None:
    moves = [
        Move(c.name, partition, *held.at[c.name, partition], offset)
        for c in consumers
        for partition, offset in upto.items()
        if offset > held.at[c.name, partition][0]
    ]
    if at.move(moves) < len(moves):
        raise Zombie(TAKEN_OVER)


def moved(held: Held, upto: Mapping[int, int]) -> None:
    """After the commit: remember it."""
    for (consumer, partition), (offset, epoch) in held.at.items():
        if partition in upto:
            held.at[consumer, partition] = max(offset, upto[partition]), epoch


def apply_or_fail(at: Transaction, consumer: Consumer, items: Sequence[Delivered], shard: int) -> list[Failure]:
    """Apply; where a row cannot be written, find the subject it belongs to and fail only that one."""
    if not items:
        return []
    try:
        with at.savepoint():
            return consumer.apply(at, items, shard)
    except UNWRITABLE as error:
        subjects = list(dict.fromkeys(i.meta.subject for i in items))
        if len(subjects) == 1:
            return [
                Failure(item, f"write: {type(error).__name__}" if n == 0 else QUEUED) for n, item in enumerate(items)
            ]
    half = set(subjects[: len(subjects) // 2])
    first = [i for i in items if i.meta.subject in half]
    second = [i for i in items if i.meta.subject not in half]
    return apply_or_fail(at, consumer, first, shard) + apply_or_fail(at, consumer, second, shard)


def park(at: Transaction, consumer: str, failure: Failure) -> None:
    """Set an event aside in its subject's queue."""
    item, meta = failure.delivered, failure.delivered.meta
    waiting = Parked(0, item.partition, item.offset, meta.source, meta.seq, failure.reason, item.value)
    at.park(consumer, meta.subject, waiting)
