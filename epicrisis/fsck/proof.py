"""The proof beside the ledger: the entries of the partitions' trees are those of its events, and the newest checkpoint
says what the entries say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.audit.chain import ENTRY
from epicrisis.audit.postgres import PostgresRecords
from epicrisis.audit.recount import recount
from epicrisis.fsck.finding import Finding
from epicrisis.fsck.sums import mark, number
from epicrisis.sql import queries

_SQL = queries("epicrisis.fsck")
PAGE = 5_000


def partitions_of(ledger: psycopg.Connection[Any]) -> list[int]:
    """Those that have entries."""
    return list(_sizes(ledger))


def sum_of(ledger: psycopg.Connection[Any], partition: int) -> int:
    """The sum over a partition's entries with their places: its events' must be the same (`Ledger.leaves`)."""
    tree = _entries(ledger, partition)
    return sum(mark(number(n) + tree[n * ENTRY : (n + 1) * ENTRY]) for n in range(-(-len(tree) // ENTRY)))


def details(ledger: psycopg.Connection[Any], partitions: int, some: Collection[int]) -> Iterator[Finding]:
    """What differs between the entries of some partitions and the events."""
    left = {partition: size for partition, size in _sizes(ledger).items() if partition in some}
    with ledger.cursor("events", binary=True) as cur:
        cur.itersize = PAGE
        cur.execute(_SQL["leaves"], {"partitions": partitions, "some": list(some)})
        for partition, events in groupby(cur, key=itemgetter(0)):
            tree, count = _entries(ledger, partition), 0
            for _, leaf, subject, n, link in events:
                count += 1
                at = leaf * ENTRY
                if tree[at : at + ENTRY] != subject + number(n) + link:
                    yield Finding(
                        check="proof",
                        problem="the entry is not the event's",
                        place=f"partition {partition} leaf {leaf}",
                        subject=UUID(bytes=subject),
                    )
            if (size := left.pop(partition, 0)) != count:
                yield _uneven(partition, size, count)
    for partition, size in left.items():
        yield _uneven(partition, size, 0)


def checkpoint(ledger: psycopg.Connection[Any]) -> Iterator[Finding]:
    """What differs between the entries and what was signed."""
    with ledger.cursor(binary=True) as cur:
        for problem in recount(PostgresRecords(cur)):
            yield Finding(check="proof", problem=problem)


def _uneven(partition: int, entries: int, events: int) -> Finding:
    return Finding(check="proof", problem=f"{entries} entries, {events} events", place=f"partition {partition}")


def _sizes(ledger: psycopg.Connection[Any]) -> dict[int, int]:
    return dict(ledger.execute(_SQL["entry_counts"]).fetchall())


def _entries(ledger: psycopg.Connection[Any], partition: int) -> bytes:
    """Those of a partition, in order; a hole shows, since what is behind it is elsewhere then."""
    with ledger.cursor(binary=True) as cur:
        return b"".join(raw for (raw,) in cur.execute(_SQL["entries"], {"partition": partition}))
