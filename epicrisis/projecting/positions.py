"""Positions: the rule that absorbs redelivery, zombies and loss.

Per consumer, subject and service, ``seq`` counts without gaps. A position is the last one applied: what is not above it
is dropped; what is further than the next one shows that something is missing, and parks the subject.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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

    @classmethod
    def load(cls, at: Transaction, consumers: Collection[str], subjects: Collection[UUID]) -> Positions:
        """Read them in the batch's own transaction."""
        return cls(at.positions(consumers, subjects), at.parked(consumers, subjects))

    def admit(self, consumer: str, items: Iterable[Delivered]) -> tuple[list[Delivered], list[Failure]]:
        """Divide a batch, in order, into what this consumer applies now and what has to wait; the rest is known.

        What it applies gets its number: all consumers follow one order, so it is one more than this one has applied.
        """
        apply: list[Delivered] = []
        wait: list[Failure] = []
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
                    place = (consumer, subject)
                    seen[subject] = dict(self._seqs.get(place, ())), [QUEUED] if place in self._parked else []
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
        return apply, wait

    def last(self, consumer: str, subject: UUID, source: str) -> int:
        """The last ``seq`` applied, 0 where there is none."""
        seqs = self._seqs.get((consumer, subject))
        return seqs.get(source, 0) if seqs else 0

    def next_n(self, consumer: str, subject: UUID) -> int:
        """The number, in the subject's history, of the event that this consumer applies next."""
        return sum(self._seqs.get((consumer, subject), {}).values()) + 1

    def settle(self, consumer: str, applied: Sequence[Delivered]) -> None:
        """These have been applied."""
        subject: UUID | None = None
        seqs: dict[str, int] = {}
        for item in applied:
            meta = item.meta
            if meta.subject is not subject:
                subject = meta.subject
                place = (consumer, subject)
                seqs = self._seqs.setdefault(place, {})
                self._moved.add(place)
            seqs[meta.source] = meta.seq

    def save(self, at: Transaction) -> None:
        """Write what has moved, in one order for all workers."""
        if self._moved:
            moved = sorted(self._moved, key=lambda who: (who[1].bytes, who[0]))
            at.save_positions([(consumer, subject, self._seqs[consumer, subject]) for consumer, subject in moved])
