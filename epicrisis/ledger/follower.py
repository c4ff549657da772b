"""The ledger as a consumer of the log: it archives each event as it came, and chains it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

from epicrisis.audit.chain import entry_of, first_link, next_link
from epicrisis.projecting.delivery import Delivered, Failure
from epicrisis.projecting.store import Archived, Transaction
from epicrisis.slices import slice_of

LEDGER = "ledger"
"""Its name among the consumers."""


class LedgerFollower:
    """See `Consumer`. Bodies stay sealed: an event whose key is lost is archived like any other."""

    name = LEDGER

    def needs_body(self, event_type: str) -> bool:
        return False

    def needs_resource(self, event_type: str) -> bool:
        return False

    def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        if not delivered:
            return []
        chains = at.chains({d.meta.subject for d in delivered})
        rows: list[tuple[Delivered, int, int, bytes]] = []
        entries: defaultdict[int, list[bytes]] = defaultdict(list)
        for subject, run in groupby(delivered, key=lambda d: d.meta.subject):
            n, link = chains.get(subject) or (0, first_link(subject))
            slice_ = slice_of(subject)
            for item in run:
                n, link = n + 1, next_link(link, item.value)
                rows.append((item, n, slice_, link))
                entries[item.partition].append(entry_of(subject, n, link))
            chains[subject] = n, link
        places = {
            partition: iter(range(first, first + len(entries[partition])))
            for partition, first in at.grow({p: b"".join(some) for p, some in sorted(entries.items())}).items()
        }
        at.archive([_archived(*row, next(places[row[0].partition])) for row in rows], chains)
        return []


def _archived(item: Delivered, n: int, slice_: int, link: bytes, leaf: int) -> Archived:
    meta = item.meta
    return Archived(leaf, meta.recorded, meta.subject, meta.seq, n, slice_, meta.source, link, item.value)
