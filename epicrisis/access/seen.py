"""What an operator has seen of a patient, by the access log: the third time of an event, when it was delivered."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.access.api import numbers
from epicrisis.sql import queries

_SQL = queries("epicrisis.access")


def delivered(
    cur: psycopg.Cursor[Any], operator: str, patient: UUID, until: datetime | None = None
) -> dict[tuple[str, int], datetime]:
    """By (service, seq), the key of the ledger for this patient: when an event was first given to this operator.

    ``cur`` is on the database ``cluster``, as a role that may read the access log (``auditor``, ``reader``). Only what
    was read is in it, over HTTP and by whatever else records its accesses; what the operator wrote itself it knows by
    the envelope (``Meta.operator``), from when it was recorded. Every version that left counts, in a search as in a
    history; what was left out, refused, or only counted does not. The access log follows the journal by some
    milliseconds, like all read models.
    """
    found: dict[tuple[str, int], datetime] = {}
    cur.execute(_SQL["delivered"], {"operator": operator, "patient": patient, "until": until})
    for recorded, by_source in cur:
        for source, seqs in by_source.items():
            for seq in numbers(seqs):
                found.setdefault((source, seq), recorded)
    return found
