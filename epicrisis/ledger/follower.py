"""The ledger as a consumer of the log: it archives each event as it came, and chains it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from epicrisis.audit.chain import first_link, next_link
from epicrisis.projecting.delivery import Delivered, Failure
from epicrisis.projecting.store import Archived, Transaction
from epicrisis.slices import slice_of


class LedgerFollower:
    """See `Consumer`. Bodies stay sealed: an event whose key is lost is archived like any other."""

    name = "ledger"

    def needs_body(self, event_type: str) -> bool:
        return False

    def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        chains = at.chains({d.meta.subject for d in delivered})
        events: list[Archived] = []
        for subject, run in groupby(delivered, key=lambda d: d.meta.subject):
            n, link = chains.get(subject) or (0, first_link(subject))
            slice_ = slice_of(subject)
            for item in run:
                meta = item.meta
                n, link = n + 1, next_link(link, item.value)
                events.append(Archived(meta.seq, n, meta.recorded, subject, slice_, meta.source, link, item.value))
            chains[subject] = n, link
        at.archive(events, chains)
        return []
