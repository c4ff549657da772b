"""Read models beside the fold of the ledger: the rows that a subject's events make must be the rows that are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from epicrisis.assembly import codec
from epicrisis.codec import KeyStore
from epicrisis.errors import Refused
from epicrisis.found import projections
from epicrisis.fsck.finding import Finding
from epicrisis.ledger import history
from epicrisis.projecting.digest import columns_of, content
from epicrisis.projecting.generations import LIVE, generations
from epicrisis.projection import SHAPED_BY, Projection, Table
from epicrisis.replay import ERASED, Fact, facts, folded
from epicrisis.sql import queries

_SQL = queries("epicrisis.fsck")

Cursor = psycopg.Cursor[Any]


class Models:
    """The live generations of this release's read models, in one snapshot.

    ``compared`` counts subjects; ``erased`` those whose key is gone, whose rows cannot be folded any more.
    """

    def __init__(self, cur: Cursor, keys: KeyStore, *, sums: bool) -> None:
        self._cur, self._keys = cur, keys
        live = {g.projection: g for g in generations(cur) if g.state == LIVE}
        self._live = [
            projection.in_schema(live[name].schema)
            for name, projection in sorted(projections().items())
            if name in live and live[name].version == projection.version
        ]
        self.other = sorted(name for name in projections() if name not in {p.name for p in self._live})
        self._sums: dict[tuple[str, str], dict[Any, list[int]]] | None = {} if sums else None
        self.compared = self.erased = 0

    def beside(self, subject: UUID) -> Iterator[Finding]:
        """One subject: as far as each read model has applied its events."""
        known = list(facts(history(self._cur, subject), codec(), self._keys))
        if any(fact.unreadable == ERASED for fact in known):
            self.erased += 1
            return
        self.compared += 1
        applied = dict(self._cur.execute(_SQL["positions"], {"subject": subject}).fetchall())
        for projection in self._live:
            seqs = applied.get(projection.schema, {})
            told = [fact for fact in known if fact.meta.seq <= seqs.get(fact.meta.source, 0)]
            yield from self._compare(projection, subject, told)

    def _compare(self, projection: Projection, subject: UUID, told: Sequence[Fact]) -> Iterator[Finding]:
        try:
            made = folded(projection, told)
        except Refused:
            yield Finding(
                check="models", problem="cannot be folded from the ledger", place=projection.name, subject=subject
            )
            return
        for table in projection.tables.values():
            if table.sums:
                self._add(projection, table, made.rows[table.name])
                continue
            expected = {
                (key := table.key_of(row)): (
                    *plain(getattr(row, c) for c in table.columns),
                    made.shaped[table.name, key],
                )
                for row in made.rows[table.name]
            }
            found = self._rows(projection, table, subject)
            for key in sorted(expected.keys() | found.keys(), key=repr):
                if problem := _problem(expected.get(key), found.get(key)):
                    yield Finding(check="models", problem=problem, place=table.name, subject=subject)

    def _rows(self, projection: Projection, table: Table, subject: UUID) -> dict[Any, tuple[Any, ...]]:
        columns = sql.SQL(", ").join(map(sql.Identifier, (*table.columns, SHAPED_BY)))
        source = sql.Identifier(projection.schema, table.name)
        query = sql.SQL("SELECT {} FROM {} WHERE subject = %s").format(columns, source)
        places = [table.columns.index(name) for name in table.key]
        rows = [plain(row) for row in self._cur.execute(query, (subject,))]
        return {tuple(row[place] for place in places): row for row in rows}

    def _add(self, projection: Projection, table: Table, increments: Sequence[Any]) -> None:
        if self._sums is None:
            return
        sums = self._sums.setdefault((projection.schema, table.name), {})
        for row in increments:
            total = sums.setdefault(table.key_of(row), [0] * len(table.sums))
            for at, name in enumerate(table.sums):
                total[at] += getattr(row, name)

    def totals(self) -> Iterator[Finding]:
        """After every subject: what they add up to, beside the counters."""
        for projection in self._live:
            for table in projection.tables.values():
                if table.sums and self._sums is not None:
                    yield from self._counters(projection, table, self._sums.get((projection.schema, table.name), {}))

    def _counters(self, projection: Projection, table: Table, expected: Mapping[Any, list[int]]) -> Iterator[Finding]:
        columns = sql.SQL(", ").join(map(sql.Identifier, columns_of(table)))
        query = sql.SQL("SELECT {} FROM {} AS content").format(columns, content(projection, table))
        width = len(table.key)
        found = {tuple(row[:width]): list(row[width:]) for row in self._cur.execute(query)}
        for key in sorted(expected.keys() | found.keys(), key=repr):
            if expected.get(key) != found.get(key):
                place = f"{table.name} {dict(zip(table.key, map(str, key), strict=True))}"
                yield Finding(check="models", problem="the counter shows another sum", place=place)


def plain(values: Any) -> tuple[Any, ...]:
    """A row's values as they compare: arrays as tuples."""
    return tuple(tuple(v) if isinstance(v, list) else v for v in values)


def _problem(expected: Any, found: Any) -> str:
    if expected == found:
        return ""
    if found is None:
        return "the row is missing"
    if expected is None:
        return "there should be no such row"
    return "the row differs" if expected[:-1] != found[:-1] else "it says that another event shaped it"
