"""Replay: one subject's history from the ledger, as it stood at a moment, through the same functions as live.

Every event has two times: when it was true (``effective``) and when it was recorded. `When` cuts a history on either.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from epicrisis import folding
from epicrisis.access.api import ACCESS
from epicrisis.codec import Codec, KeyStore
from epicrisis.errors import Poison, Refused
from epicrisis.event import Meta, fields_of
from epicrisis.folding import Folded, Rows, apply
from epicrisis.ledger import Entry
from epicrisis.projection import Key, Projection, Table

Delivered = Mapping[tuple[str, int], datetime]
"""By service and seq: when an event was first given to somebody."""
ERASED = "erased"
"""Its key is gone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One event of a history. Where ``body`` is None, ``unreadable`` says why: a code, or `ERASED`."""

    n: int
    meta: Meta
    body: Any
    unreadable: str = ""
    seen: datetime | None = None
    """When an operator first had it, in a history that `seen_by` has chosen."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Which part of a history: what was true by ``as_of``, as far as it had been recorded by ``known_at``."""

    as_of: datetime | None = None
    known_at: datetime | None = None

    def covers(self, meta: Meta) -> bool:
        """Whether this event is in it."""
        true = self.as_of is None or meta.effective <= self.as_of
        return true and (self.known_at is None or meta.recorded <= self.known_at)

    def __str__(self) -> str:
        said = [("true by", self.as_of), ("known at", self.known_at)]
        return ", ".join(f"{word} {moment.isoformat()}" for word, moment in said if moment) or "all that is known"


ALL = When()
"""A whole history."""


def facts(
    entries: Sequence[Entry],
    codec: Codec,
    keys: KeyStore,
    when: When = ALL,
    of: Projection | None = None,
    *,
    resources: bool = True,
) -> Iterator[Fact]:
    """The events of this part of the history, in log order; with ``of`` only those that this projection hears.

    Without ``resources``, and where this projection reads none, `PRESENT` stands for each resource.
    """
    facts_only = not resources if of is None else not of.resources
    opened = [(entry.n, codec.open(entry.value)) for entry in entries]
    if of is not None:
        opened = [(n, sealed) for n, sealed in opened if of.touches(sealed.meta.type)]
    found = keys.by_ids({sealed.meta.key for _, sealed in opened if sealed.meta.key is not None})
    for n, sealed in opened:
        if not when.covers(sealed.meta):
            continue
        key = found.get(sealed.meta.key) if sealed.meta.key else None
        if key is None:
            yield Fact(n, sealed.meta, None, ERASED)
            continue
        try:
            yield Fact(n, sealed.meta, codec.unseal(sealed, key, facts=facts_only, indented=False))
        except Poison as problem:
            yield Fact(n, sealed.meta, None, problem.reason)


def seen_by(history: Iterable[Fact], operator: str, delivered: Delivered) -> Iterator[Fact]:
    """What an operator had seen: what it sent itself, from when it was recorded, and what was ``delivered`` to it."""
    for fact in history:
        meta = fact.meta
        own = meta.recorded if meta.operator == operator else None
        first = min(filter(None, (own, delivered.get((meta.source, meta.seq)))), default=None)
        if first is not None and meta.source != ACCESS:  # to have looked is no part of what was seen
            yield dataclasses.replace(fact, seen=first)


def through(projection: Projection, history: Iterable[Fact]) -> Mapping[str, list[Any]]:
    """The rows of a projection after this history, by table. Erased events are left out.

    Raises
    ------
    Refused
        An event that these rows rest on cannot be read, though its key is there.
    """
    return folded(projection, history).rows


def folded(projection: Projection, history: Iterable[Fact]) -> Folded:
    """The same, and the number of the event that shaped each row last."""
    return folding.folded(projection, ((fact.body, fact.meta, fact.n) for fact in readable(projection, history)))


def readable(projection: Projection, history: Iterable[Fact]) -> Iterator[Fact]:
    """The events that a projection can be folded from; see `through`."""
    for fact in history:
        if fact.unreadable in ("", ERASED):
            if fact.body is not None:
                yield fact
        elif projection.touches(fact.meta.type):
            raise Refused(
                f"event {fact.n} of this history ({fact.meta.type}) cannot be read: {fact.unreadable}. Without it the "
                "rows would be wrong: see the timeline (without --through), and replay with a release that can read it"
            )


def timeline(history: Iterable[Fact]) -> Iterator[dict[str, Any]]:
    """A row per event, for people: when, who, what."""
    for fact in history:
        meta = fact.meta
        yield {
            "n": fact.n,
            "effective": meta.effective,
            "recorded": meta.recorded,
            "clinic": meta.clinic,
            "event": meta.type,
            "stream": meta.stream,
            "what": _what(fact),
            "id": meta.id,
            "seq": meta.seq,
            "seen": fact.seen,
        }


def _what(fact: Fact) -> str:
    if fact.unreadable == ERASED:
        return "(erased)"
    return f"(cannot be read: {fact.unreadable})" if fact.unreadable else summary(fact.body)


def summary(body: Any) -> str:
    """The facts of a body in one line: displays of codes, and short texts; never the resource."""
    said: list[str] = []
    for name in _telling(body.__class__):
        value = getattr(body, name)
        for one in value if isinstance(value, tuple) else (value,):
            text = (one.display or one.code) if hasattr(one, "display") else one
            if isinstance(text, str) and text and text not in said:
                said.append(text)
    return " · ".join(said)


@cache
def _telling(body: type[Any]) -> tuple[str, ...]:
    """The fields that say something to people."""
    names = [name for name in fields_of(body) if not name.endswith(("_id", "resource"))]
    return tuple(name for name in names if name not in ("resource_type", "code_system"))


Change = dict[str, Any]
"""One column of one row that differs: ``table``, ``key``, ``change`` (added, removed, changed), ``column``, the values
``before`` and ``after``."""


def differences(
    projection: Projection, before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]
) -> Iterator[Change]:
    """What lies between two states of a projection's rows, as `through` gives them."""
    for table in projection.tables.values():
        old = {table.key_of(row): row for row in before[table.name]}
        new = {table.key_of(row): row for row in after[table.name]}
        for key in sorted({*old, *new}, key=repr):
            yield from changes(table, key, old.get(key), new.get(key))


def changes(table: Table, key: Key, old: Any, new: Any) -> Iterator[Change]:
    """What one row differs in; None is a row that is not there."""
    change = "added" if old is None else "removed" if new is None else "changed"
    for column in table.columns:
        values = getattr(old, column, None), getattr(new, column, None)
        if column not in table.key and values[0] != values[1]:
            named = dict(zip(table.key, key, strict=True))
            yield {
                "table": table.name,
                "key": named,
                "change": change,
                "column": column,
                "before": values[0],
                "after": values[1],
            }


def explained(
    projection: Projection, history: Iterable[Fact], wanted: Mapping[str, str] = types.MappingProxyType({})
) -> Iterator[tuple[Fact, Change]]:
    """Which event made which row what it is: every change of a row whose key has the ``wanted`` values, in log order.

    Sums over subjects have no row of their own in one subject's history, and are left out.
    """
    rows: Rows = {}
    tables = {table.name: table for table in projection.tables.values()}
    for fact in readable(projection, history):
        steps = [step for step in projection.plan(fact.body, fact.meta) if step.handler.evolve is not None]
        places = list(dict.fromkeys((step.handler.table.name, key) for step in steps for key in step.keys))
        before = [rows[place].row if place in rows else None for place in places]
        apply(steps, fact.meta, fact.n, rows, {})
        for place, old in zip(places, before, strict=True):
            table, key = tables[place[0]], place[1]
            named = dict(zip(table.key, map(str, key), strict=True))
            if all(named.get(column) == value for column, value in wanted.items()):
                for change in changes(table, key, old, rows[place].row):
                    yield fact, change


def subject_of(text: str) -> UUID:
    """A subject as people write it: the UUID, or ``Patient/<uuid>``.

    Raises
    ------
    Refused
        It is neither.
    """
    try:
        return UUID(text.rsplit("/", 1)[-1])
    except ValueError:
        raise Refused("name the patient by its cluster id, a UUID: `epicrisis read clinic_patients`") from None
