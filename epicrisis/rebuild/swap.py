"""Comparing two generations in one snapshot, and swapping them in one transaction."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from epicrisis.database import Database
from epicrisis.errors import EpicrisisError
from epicrisis.ledger import LEDGER
from epicrisis.projecting import ddl
from epicrisis.projecting.digest import Digest, columns_of, content, digest
from epicrisis.projecting.generations import LIVE, RETIRED
from epicrisis.projection import Projection
from epicrisis.rebuild.following import offsets
from epicrisis.sql import queries

_SQL = queries("epicrisis.rebuild")
LOCK = "200ms"
"""So long the swap waits for those who are reading: less than the database takes to look for a deadlock (1 s), so that
it is never a reader who gives way."""
LOOK_SECONDS = 0.1

Cursor = psycopg.Cursor[Any]


class Compared(NamedTuple):
    """A table in both generations. ``changed``: rows that only one of them has, or has otherwise."""

    table: str
    live: Digest | None
    new: Digest
    changed: int = 0

    @property
    def differs(self) -> bool:
        return self.live is not None and self.live != self.new


def behind(cur: Cursor, generation: str, others: Sequence[str]) -> int:
    """How many records these others have applied that this generation has not."""
    at = offsets(cur, [generation, *others])
    own = at[generation]
    return max(sum(max(0, next_ - own.get(p, 0)) for p, next_ in at[other].items()) for other in others)


def compared_in_one_snapshot(
    database: Database, live: Projection | None, old: str, new: Projection, seconds: float
) -> list[Compared]:
    """Compare, as soon as both have applied the same events. ``live`` is None where another version is live: ``old``.

    Raises
    ------
    EpicrisisError
        They do not come to the same place in this time; or the new one has missed something.
    """
    deadline = time.monotonic() + seconds
    while True:
        with database.transaction() as cur:
            cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            lacks = behind(cur, new.schema, [LEDGER, old])
            ahead = 0 if live is None else behind(cur, old, [new.schema])
            if not lacks and not ahead:
                _missed_nothing(cur, new.schema)
                return [_compare(cur, live, new, name) for name in range(len(new.tables))]
        if time.monotonic() > deadline:
            who, count = (new.schema, lacks) if lacks else (old, ahead)
            raise EpicrisisError(
                f"{who} is {count} records behind the other: does a worker of this release run (`epicrisis work`)? "
                "Start one, and rebuild again: it goes on where it was"
            )
        time.sleep(LOOK_SECONDS)


def _missed_nothing(cur: Cursor, schema: str) -> None:
    row = cur.execute(_SQL["missed"], {"schema": schema}).fetchone()
    if row and row[0]:
        raise EpicrisisError(
            f"{schema} lacks events of {row[0]} subjects that the ledger has: "
            "`epicrisis rebuild --cancel` it, then rebuild anew"
        )


def _compare(cur: Cursor, live: Projection | None, new: Projection, number: int) -> Compared:
    table = list(new.tables.values())[number]
    columns = columns_of(table)
    after = content(new, table)
    found = digest(cur, after, columns)
    if live is None:
        return Compared(table.name, None, found)
    before = content(live, table)
    was = digest(cur, before, columns)
    return Compared(table.name, was, found, _changed(cur, before, after) if was != found else 0)


def _changed(cur: Cursor, before: sql.Composed, after: sql.Composed) -> int:
    """Rows of the one that the other lacks, or the other way round, whichever are more."""
    counts = []
    for one, other in ((before, after), (after, before)):
        query = sql.SQL("SELECT count(*) FROM (SELECT * FROM {} AS a EXCEPT SELECT * FROM {} AS b) AS changed")
        row = cur.execute(query.format(one, other)).fetchone()
        counts.append(row[0] if row else 0)
    return max(counts)


def swap(
    database: Database,
    roles: ddl.Roles,
    *,
    live: str,
    new: str,
    seconds: float,
    before: Callable[[Cursor], None] = lambda _: None,
) -> None:
    """Lead the stable views to ``new``, in one transaction. Whoever reads sees the one before and the other after it.

    It waits for readers in small bits only, so that nobody waits behind it.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with database.transaction() as cur:
                cur.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK,))
                before(cur)
                ddl.show(cur.connection, new, roles, instead_of=live)
                cur.execute(_SQL["state"], {"schema": live, "state": RETIRED})
                cur.execute(_SQL["state"], {"schema": new, "state": LIVE})
            return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise EpicrisisError(
                    f"somebody reads {live} all the time, for longer than {LOCK} at once: end that, then again"
                ) from None
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311
