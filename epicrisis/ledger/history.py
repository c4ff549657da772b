"""Reading one subject's history from the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from epicrisis.slices import slice_of
from epicrisis.sql import queries

_SQL = queries("epicrisis.ledger")


class Entry(NamedTuple):
    """An archived event: ``n`` counts the subject's events over all services, ``seq`` within one; ``leaf`` is its index
    among the entries of its partition.
    """

    n: int
    source: str
    seq: int
    recorded: datetime
    link: bytes
    value: bytes
    leaf: int | None = None


def history(cur: psycopg.Cursor[Any], subject: UUID) -> list[Entry]:
    """Every event of this subject, in log order; empty where the ledger knows none."""
    cur.execute(_SQL["history"], {"subject": subject, "slice": slice_of(subject)})
    return [Entry(*row) for row in cur]
