"""Positions: the rule that absorbs redelivery, zombies and loss.

Per consumer, subject and service, ``seq`` counts without gaps. A position is the last one applied: what is not above it
is dropped; what is further than the next one shows that something is missing, and parks the subject.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from psycopg.types.json import Jsonb

from epicrisis.projecting.delivery import QUEUED, Cursor, Delivered, Failure
from epicrisis.sql import queries

_SQL = queries("epicrisis.projecting")
GAP = "gap"

Place = tuple[str, UUID]


class Positions:
    """What these consumers have applied of these subjects, and who is parked, held for one batch."""

    def __init__(self, seqs: dict[Place, dict[str, int]], parked: Iterable[Place] = ()) -> None:
        self._seqs = seqs
        self._parked = set(parked)
        self._moved: set[Place] = set()

    @classmethod
    def load(cls, cur: Cursor, consumers: Collection[str], subjects: Collection[UUID]) -> Positions:
        """Read them in the batch's own transaction."""
        wanted = {"consumers": list(consumers), "subjects": list(subjects)}
        cur.execute(_SQL["positions"], wanted)
        seqs = {(consumer, subject): seqs for consumer, subject, seqs in cur}
        cur.execute(_SQL["parked_subjects"], wanted)
        return cls(seqs, cur.fetchall())

    def admit(self, consumer: str, items: Iterable[Delivered]) -> tuple[list[Delivered], list[Failure]]:
        """Divide a batch, in order, into what this consumer applies now and what has to wait; the rest is known."""
        apply: list[Delivered] = []
        wait: list[Failure] = []
        ahead: dict[tuple[UUID, str], int] = {}
        gone: set[UUID] = set()
        for item in items:
            meta = item.meta
            at = (meta.subject, meta.source)
            last = ahead.get(at)
            if last is None:
                last = self.last(consumer, meta.subject, meta.source)
            if meta.seq <= last:
                continue
            ahead[at] = meta.seq
            if meta.subject in gone or (consumer, meta.subject) in self._parked:
                wait.append(Failure(item, QUEUED))
            elif meta.seq > last + 1:
                gone.add(meta.subject)
                wait.append(Failure(item, GAP))
            else:
                apply.append(item)
        return apply, wait

    def last(self, consumer: str, subject: UUID, source: str) -> int:
        """The last ``seq`` applied, 0 where there is none."""
        seqs = self._seqs.get((consumer, subject))
        return seqs.get(source, 0) if seqs else 0

    def settle(self, consumer: str, applied: Sequence[Delivered]) -> None:
        """These have been applied."""
        for item in applied:
            place = (consumer, item.meta.subject)
            self._seqs.setdefault(place, {})[item.meta.source] = item.meta.seq
            self._moved.add(place)

    def save(self, cur: Cursor) -> None:
        """Write what has moved, in one order for all workers."""
        if self._moved:
            moved = sorted(self._moved, key=lambda place: (place[1].bytes, place[0]))
            cur.execute(
                _SQL["save_positions"],
                {
                    "consumers": [consumer for consumer, _ in moved],
                    "subjects": [subject for _, subject in moved],
                    "seqs": [Jsonb(self._seqs[place]) for place in moved],
                },
            )
