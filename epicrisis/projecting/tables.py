"""Rows in and out of PostgreSQL: one query to load what a batch touches, one COPY and one upsert to write it."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.json import Jsonb

from epicrisis.projecting.store import Saved
from epicrisis.projection import SHAPED_BY, Key, Place, Projection, Scope, Table, tuple_of
from epicrisis.sql import array

Cursor = psycopg.Cursor[Any]
Extended = tuple[Any, int]
"""A row, and what stands in the column behind its own: which event shaped it; of a counter the shard."""

SHORT = {"smallint": 2**15, "integer": 2**31}
"""Where a longer number would lose its upper bits in COPY, and nobody would notice; others are refused."""


class TableStore:
    """One table of a projection's version. Counters have a last column ``shard``, the others `SHAPED_BY`."""

    def __init__(self, projection: Projection, table: Table) -> None:
        self.table = table
        self.columns = table.columns
        self._schema = projection.schema
        self._types: dict[str, str] = {}
        self._values = tuple_of(self.columns)
        stage = f"stage_{projection.schema}_{list(projection.tables.values()).index(table)}"
        names = [*self.columns, "shard" if table.sums else SHAPED_BY]
        key = [*table.key, "shard"] if table.sums else list(table.key)
        target, stage_name = sql.Identifier(projection.schema, table.name), sql.Identifier("pg_temp", stage)
        self._names, self._stage_name = names, stage
        self._create_stage = sql.SQL(
            "CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT * FROM {} WITH NO DATA"
        ).format(sql.Identifier(stage), target)
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)")
        self._copy, self._fill = (copy.format(into, _list(names)) for into in (stage_name, target))
        change = [c for c in names if c not in key]
        settings = [
            sql.SQL("{c} = t.{c} + EXCLUDED.{c}" if c in table.sums else "{c} = EXCLUDED.{c}").format(
                c=sql.Identifier(c)
            )
            for c in change
        ]
        action = sql.SQL("UPDATE SET ") + sql.SQL(", ").join(settings) if settings else sql.SQL("NOTHING")
        self._upsert = sql.SQL("INSERT INTO {} AS t ({cols}) SELECT {cols} FROM {} ON CONFLICT ({}) DO {}").format(
            target, stage_name, _list(key), action, cols=_list(names)
        )
        self._target = target
        self._empty_stage = sql.SQL("DELETE FROM {}").format(stage_name)
        self._written_by: Cursor | None = None
        self._direct = projection.scope is Scope.CLUSTER  # PostgreSQL refuses COPY into a table with row-level security

    def _learn(self, cur: Cursor) -> None:
        """The column types, once."""
        if not self._types:
            cur.execute(
                "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND attnum > 0 AND NOT attisdropped",
                (self._schema, self.table.name),
            )
            self._types = dict(cur.fetchall())
            self._select = sql.SQL("SELECT {} FROM unnest({}) AS wanted ({}) JOIN {} AS t USING ({})").format(
                sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(c)) for c in self.columns),
                sql.SQL(", ").join(sql.SQL("%s::" + self._types[c] + "[]") for c in self.table.key),
                _list(self.table.key),
                self._target,
                _list(self.table.key),
            )
            self._delete = sql.SQL("DELETE FROM {} AS t USING unnest({}) AS gone ({}) WHERE {}").format(
                self._target,
                sql.SQL(", ").join(sql.SQL("%s::" + self._types[c] + "[]") for c in self.table.key),
                _list(self.table.key),
                sql.SQL(" AND ").join(sql.SQL("t.{c} = gone.{c}").format(c=sql.Identifier(c)) for c in self.table.key),
            )
            self._json = [i for i, c in enumerate(self.columns) if self._types[c] == "jsonb"]
            self._arrays = [i for i, c in enumerate(self.columns) if self._types[c].endswith("[]")]
            self._lists = [i for i in self._arrays if self._types[self.columns[i]] != "bigint[]"]
            self._short = [
                (i, SHORT[plain])
                for i, c in enumerate(self.columns)
                if (plain := self._types[c].removesuffix("[]")) in SHORT
            ]

    def load(self, cur: Cursor, keys: Collection[Key], into: dict[Place, Any]) -> None:
        """Read the rows of these keys into ``into``."""
        self._learn(cur)
        name = self.table.name
        cur.execute(self._select, _columns(keys))
        key_of = tuple_of(self.table.key)
        for values in cur:
            values = list(values)
            for i in self._arrays:
                if values[i] is not None:
                    values[i] = tuple(values[i])
            row = self.table.row(**dict(zip(self.columns, values, strict=True)))
            into[name, key_of(row)] = row

    def write(self, cur: Cursor, rows: Sequence[Saved]) -> None:
        """Write these rows. What was new when they were loaded still is: nobody else writes about a subject."""
        self._learn(cur)
        new: list[Extended] = []
        kept: list[Extended] = []
        gone: list[Key] = []
        for key, row, by, absent in rows:
            if row is None:
                gone.append(key)
            else:
                (new if absent and self._direct else kept).append((row, by))
        if new:
            self._copy_in(cur, self._fill, new)
        if kept:
            cur.execute(self._create_stage)
            if self._written_by is cur:  # a second time in one transaction (a retry, a search for a culprit)
                cur.execute(self._empty_stage)
            self._written_by = cur
            self._copy_in(cur, self._copy, kept)
            cur.execute(self._upsert)
        if gone:
            cur.execute(self._delete, _columns(gone))

    def fill(self, cur: Cursor, rows: Collection[Extended]) -> None:
        """Write rows whose keys are not there yet straight into the table: half the cost of `write`."""
        if rows:
            self._learn(cur)
            self._copy_in(cur, self._fill, rows)

    def _copy_in(self, cur: Cursor, into: sql.Composed, rows: Collection[Extended]) -> None:
        cur.adapters.register_dumper(None, _Numbers)
        with cur.copy(into) as copy:
            copy.set_types([self._types[c] for c in self._names])
            for row, last in rows:
                copy.write_row(self._encoded(row, last))

    def _encoded(self, row: Any, last: int) -> list[Any]:
        values = [*self._values(row), last]
        for i, limit in self._short:
            value = values[i]
            for one in (value,) if value.__class__ is int else value or ():
                if one is not None and not -limit <= one < limit:
                    raise OverflowError(f"a value does not fit into the column {self.columns[i]}")
        for i in self._json:
            if values[i] is not None:
                values[i] = Jsonb(values[i])
        for i in self._lists:
            if values[i] is not None:
                values[i] = list(values[i])
        return values


class _Numbers(Dumper):
    """A tuple of numbers as bigint[], in a third of psycopg's time. (An array of one dimension, of PostgreSQL's type
    20: its length, its first index, then each number behind its own length.)
    """

    oid = psycopg.postgres.types["int8"].array_oid
    format = Format.BINARY

    def dump(self, numbers: Sequence[int]) -> bytes:
        if not numbers:
            return _ARRAY(0, 0, 20)
        try:
            return _ARRAY(1, 0, 20) + _SIZE(len(numbers), 1) + b"".join([_NUMBER(8, number) for number in numbers])
        except struct.error:
            raise OverflowError("a value does not fit into a column of numbers") from None


_ARRAY, _SIZE, _NUMBER = struct.Struct(">iii").pack, struct.Struct(">ii").pack, struct.Struct(">iq").pack


def _columns(keys: Collection[Key]) -> list[Any]:
    """The keys as an array per column; ids as a literal, which costs a fifth of dumping them one by one."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    return [array(u.hex for u in c) if isinstance(c[0], UUID) else c for c in columns]


def _list(names: Collection[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
