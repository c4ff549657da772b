"""The ledger as a consumer of the log: it archives each event as it came, and chains it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from epicrisis.audit.chain import first_link, next_link
from epicrisis.projecting.delivery import Cursor, Delivered, Failure
from epicrisis.slices import slice_of
from epicrisis.sql import queries

_SQL = queries("epicrisis.ledger")
_COLUMNS = ["int8", "int8", "timestamptz", "uuid", "int2", "text", "bytea", "bytea"]


class LedgerFollower:
    """See `Consumer`. Bodies stay sealed: an event whose key is lost is archived like any other."""

    name = "ledger"

    def needs_body(self, event_type: str) -> bool:
        return False

    def apply(self, cur: Cursor, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        subjects = {d.meta.subject for d in delivered}
        cur.execute(_SQL["heads"], {"subjects": list(subjects)})
        heads: dict[UUID, tuple[int, bytes]] = {subject: (n, link) for subject, n, link in cur}
        with cur.copy(_SQL["copy_events"]) as copy:
            copy.set_types(_COLUMNS)
            for subject, run in groupby(delivered, key=lambda d: d.meta.subject):
                n, link = heads.get(subject) or (0, first_link(subject))
                at = slice_of(subject)
                for item in run:
                    meta = item.meta
                    n, link = n + 1, next_link(link, item.value)
                    copy.write_row((meta.seq, n, meta.recorded, subject, at, meta.source, link, item.value))
                heads[subject] = n, link
        moved = sorted(heads.items(), key=lambda head: head[0].bytes)
        cur.execute(
            _SQL["save_heads"],
            {
                "subjects": [subject for subject, _ in moved],
                "numbers": [n for _, (n, _) in moved],
                "links": [link for _, (_, link) in moved],
            },
        )
        return []
