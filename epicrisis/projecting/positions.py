"""Positions: the rule that absorbs redelivery, zombies and loss.

Per consumer, subject and service, ``seq`` counts without gaps. A position is the last one applied: what is not above it
is dropped; what is further than the next one shows that something is missing, and parks the subject.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from epicrisis.projecting.delivery import QUEUED, Delivered, Failure
from epicrisis.projecting.store import Transaction, Who

GAP = "gap"


class Positions:
    """What these consumers have applied of these subjects, and who is parked, held for one batch."""

    def __init__(self, seqs: dict[Who, dict[str, int]], parked: Iterable[Who] = ()) -> None:
        self._seqs = seqs
        self._parked = set(parked)
        self._moved: set[Who] = set()
        self._admitted = _Admitted((), {}, [], [])
        self._applied: tuple[Sequence[Delivered], list[tuple[UUID, dict[str, int]]]] = (), []

    @classmethod
    def load(cls, at: Transaction, consumers: Collection[str], subjects: Collection[UUID]) -> Positions:
        """Read them in the batch's own transaction."""
        return cls(at.positions(consumers, subjects), at.parked(consumers, subjects))

    def admit(self, consumer: str, items: Sequence[Delivered]) -> tuple[list[Delivered], list[Failure]]:
        """Divide a batch, in order, into what this consumer applies now and what has to wait; the rest is known.

        What it applies gets its number: all consumers follow one order, so it is one more than this one has applied.
        Nearly always all consumers stand at the same place, and the answer is the same.
        """
        other = self._admitted
        if other.items is items and all(self._stands(consumer, one) == stood for one, stood in other.stood.items()):
            return other.apply, other.wait
        apply: list[Delivered] = []
        wait: list[Failure] = []
        stood: dict[UUID, tuple[dict[str, int], bool]] = {}
        seen: dict[UUID, tuple[dict[str, int], list[str]]] = {}
        subject: UUID | None = None
        ahead: dict[str, int] = {}
        reason: list[str] = []
        n = 0
        for item in items:
            meta = item.meta
            if meta.subject is not subject:  # subjects come in runs: one look-up a run
                subject = meta.subject
                if subject not in seen:
                    stood[subject] = seqs, parked = self._stands(consumer, subject)
                    seen[subject] = dict(seqs), [QUEUED] if parked else []
                ahead, reason = seen[subject]
                n = sum(ahead.values())
            last = ahead.get(meta.source, 0)
            if meta.seq <= last:
                continue
            if not reason and meta.seq == last + 1:
                item.n = n = n + 1
                apply.append(item)
            else:
                wait.append(Failure(item, reason[0] if reason else GAP))
                reason[:] = [QUEUED]
            ahead[meta.source] = meta.seq
        self._admitted = _Admitted(items, stood, apply, wait)
        return apply, wait

    def _stands(self, consumer: str, subject: UUID) -> tuple[dict[str, int], bool]:
        """What this consumer has applied of this subject, and whether it is parked."""
        place = consumer, subject
        return dict(self._seqs.get(place, ())), place in self._parked

    def last(self, consumer: str, subject: UUID, source: str) -> int:
        """The last ``seq`` applied, 0 where there is none."""
        seqs = self._seqs.get((consumer, subject))
        return seqs.get(source, 0) if seqs else 0

    def next_n(self, consumer: str, subject: UUID) -> int:
        """The number, in the subject's history, of the event that this consumer applies next."""
        return sum(self._seqs.get((consumer, subject), {}).values()) + 1

    def settle(self, consumer: str, applied: Sequence[Delivered]) -> None:
        """These have been applied."""
        if applied is not self._applied[0]:
            self._applied = applied, positions_of(applied)
        for subject, seqs in self._applied[1]:
            place = consumer, subject
            self._seqs.setdefault(place, {}).update(seqs)
            self._moved.add(place)

    def save(self, at: Transaction) -> None:
        """Write what has moved, in one order for all workers."""
        if self._moved:
            moved = sorted(self._moved, key=lambda who: (who[1].bytes, who[0]))
            at.save_positions([(consumer, subject, self._seqs[consumer, subject]) for consumer, subject in moved])


class _Admitted(NamedTuple):
    """How a batch was divided for a consumer that stood there."""

    items: Sequence[Delivered]
    stood: dict[UUID, tuple[dict[str, int], bool]]
    apply: list[Delivered]
    wait: list[Failure]


def positions_of(items: Sequence[Delivered]) -> list[tuple[UUID, dict[str, int]]]:
    """The last ``seq`` by service of each run of a subject's events."""
    found: list[tuple[UUID, dict[str, int]]] = []
    subject: UUID | None = None
    seqs: dict[str, int] = {}
    for item in items:
        meta = item.meta
        if meta.subject is not subject and meta.subject != subject:  # mostly the same object
            subject, seqs = meta.subject, {}
            found.append((subject, seqs))
        seqs[meta.source] = meta.seq
    return found
