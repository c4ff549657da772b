"""The registry of generations: which versions of which projections there are, and which of them is read.

A generation is `building` while it is filled, `ready` once it has everything and workers follow it beside the live one,
`live` when it is the one that is read, and `retired` afterwards, kept for going back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from epicrisis.projection import Projection
from epicrisis.sql import queries

_SQL = queries("epicrisis.projecting")
BUILDING, READY, LIVE, RETIRED = "building", "ready", "live", "retired"


class Generation(NamedTuple):
    """A version of a projection, filled once. ``schema`` is also its consumer's name."""

    schema: str
    projection: str
    version: int
    state: str
    begun_at: datetime
    filled_at: datetime | None
    swapped_at: datetime | None


def generations(cur: psycopg.Cursor[Any], projection: str | None = None) -> list[Generation]:
    """All of them, or one projection's: by projection, the last swapped and the newest first."""
    cur.execute(_SQL["generations"], {"projection": projection})
    return [Generation(*row) for row in cur]


def followed(cur: psycopg.Cursor[Any], projections: Iterable[Projection]) -> list[Projection]:
    """What workers that have the code of these projections follow: each of their generations that is filled.

    Until the end of the transaction none of them goes.
    """
    cur.execute(_SQL["looking"])
    code = {projection.name: projection for projection in projections}
    return [
        code[g.projection].in_schema(g.schema)
        for g in generations(cur)
        if g.state != BUILDING and g.projection in code and code[g.projection].version == g.version
    ]


def register(cur: psycopg.Cursor[Any], projection: Projection, state: str) -> None:
    """Add a generation."""
    cur.execute(
        _SQL["register"],
        {
            "schema": projection.schema,
            "projection": projection.name,
            "version": projection.version,
            "state": state,
        },
    )
