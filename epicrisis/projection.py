"""The projection: a read model as keyed tables and one pure function per event type.

A projection is a folder ``projections/<scope>_<what>/`` with ``__init__.py`` (``projection = Projection(...)``, the
row classes and their functions) and ``tables.sql`` (the tables, columns in the order of the row class's fields).
Every key of a table contains the subject; what sums over subjects is a counter. So neither batching, nor the
order between subjects, nor rebuilding in parallel can change a row, and any read model can be asked as of any moment
for one subject by folding that subject's history.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from epicrisis.event import Meta, event_type, fields_of

R = TypeVar("R")
Key = tuple[Any, ...]
Place = tuple[str, Key]
"""A table's name and a key in it."""
SHAPED_BY = "shaped_by"
"""The column that every table has beside its row's (but a counter): which event shaped the row last, as its number in
the subject's history (the ledger's ``n``). The engine makes and fills it."""
ANY = "*"
"""The pseudo event type of functions that see every event (and only its Meta)."""


class Scope(enum.Enum):
    """Whose rows these are. CLINIC tables have a column ``clinic_id`` and show each clinic its own rows only."""

    CLINIC = "clinic"
    CLUSTER = "cluster"


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """One table of a projection. ``sums`` names the additive columns of a counter; a keyed table has none.

    ``shared`` marks a table of a clinic's projection that has no ``clinic_id``: a clinic sees those subjects' rows
    that it has a row of in the projection's first table.
    """

    name: str
    row: type[Any]
    key: tuple[str, ...]
    sums: tuple[str, ...] = ()
    shared: bool = False

    key_of: Callable[[Any], Key] = dataclasses.field(init=False, repr=False, compare=False)
    """The key of a row."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_of", tuple_of(self.key))

    @property
    def columns(self) -> tuple[str, ...]:
        return fields_of(self.row)


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """How one event type changes one table.

    Keyed: ``rows(event, meta)`` yields keys, ``evolve(row | None, event, meta)`` the row's next value (None removes
    it). Counter: ``evolve`` is None and ``rows(event, meta)`` yields increments. For ``ANY`` the event is None.
    """

    table: Table
    rows: Callable[[Any, Meta], Iterable[Any]]
    evolve: Callable[[Any, Any, Meta], Any] | None


class Step(msgspec.Struct, frozen=True, gc=False):
    """One function that an event calls, with the keys it touches; of a counter, the increments."""

    handler: Handler
    event: Any
    keys: tuple[Any, ...]


class Projection:
    """Declares a read model: ``projection = Projection(name=..., version=..., scope=...)``.

    Raise the version whenever rows would come out differently: `epicrisis rebuild` fills the new one beside the old.
    ``schema`` is the PostgreSQL schema of its tables, and the name of the consumer that fills them.

    ``resources``: its functions read the FHIR resources in the events, not only their facts.
    ``roster``: its first table says which subjects a clinic sees. ``by_roster``: the role ``door``, which reads for a
    clinic from outside, sees those subjects' rows by views that end in ``_seen``; and all rows for which the SQL
    condition ``to_all`` holds.
    """

    def __init__(
        self,
        *,
        name: str,
        version: int,
        scope: Scope,
        resources: bool = False,
        roster: bool = False,
        by_roster: bool = False,
        to_all: str = "false",
    ) -> None:
        self.name, self.version, self.scope = name, version, scope
        self.resources, self.roster, self.by_roster, self.to_all = resources, roster, by_roster, to_all
        self.tables: dict[type[Any], Table] = {}
        self.handlers: dict[str, list[Handler]] = {}
        self.exempt: dict[int, frozenset[str]] = {}
        self.schema = f"{name}_v{version}"
        self._by_type: dict[str, tuple[Sequence[Handler], Sequence[Handler]]] = {}

    def in_schema(self, schema: str) -> Projection:
        """The same declarations over the tables of another schema: another generation of this version."""
        other = copy(self)
        other.schema = schema
        return other

    def view(self, table: Table) -> str:
        """The stable name under which a table is read: ``read.<view>``."""
        own = table.name == self.name or table.name.startswith(f"{self.name}_")
        return table.name if own else f"{self.name}_{table.name}"

    def table(
        self, *, key: Sequence[str], name: str | None = None, shared: bool = False
    ) -> Callable[[type[R]], type[R]]:
        """Declare a keyed table (class decorator over a ``@record``). The first one is named like the projection.

        Raises `TypeError` where the key lacks the subject, or a clinic table's key lacks ``clinic_id``.
        """
        if "subject" not in key:
            raise TypeError(f"{self.name}: a key must contain the subject; what sums over subjects is a counter")
        return self._declare(tuple(key), (), name, shared)

    def counter(
        self, *, key: Sequence[str], sums: Sequence[str], name: str | None = None
    ) -> Callable[[type[R]], type[R]]:
        """Declare a counter: rows are increments, added up per key (and per partition, which nobody sees)."""
        return self._declare(tuple(key), tuple(sums), name)

    def _declare(
        self, key: tuple[str, ...], sums: tuple[str, ...], name: str | None, shared: bool = False
    ) -> Callable[[type[R]], type[R]]:
        if self.scope is Scope.CLINIC and not shared and "clinic_id" not in key:
            raise TypeError(f"{self.name}: the key of a clinic's table must contain clinic_id")

        def mark(row: type[R]) -> type[R]:
            table = Table(name or self.name, row, key, sums, shared)
            unknown = {*key, *sums} - set(table.columns)
            if unknown:
                raise TypeError(f"{self.name}: {row.__name__} has no field {', '.join(sorted(unknown))}")
            self.tables[row] = table
            return row

        return mark

    def on(
        self, body: type[Any], row: type[R], *, rows: Callable[[Any, Meta], Iterable[Key]] | None = None
    ) -> Callable[[Callable[..., R | None]], Callable[..., R | None]]:
        """Declare ``(row | None, event, meta) -> row | None`` for one event type.

        ``rows`` yields the keys that the event touches, by default the one made of the event's and its Meta's fields of
        the key columns' names (``clinic_id`` being ``meta.clinic``).
        """
        table = self.tables[row]

        def mark(function: Callable[..., R | None]) -> Callable[..., R | None]:
            self._add(event_type(body), Handler(table, rows or _default_rows(table.key, body), function))
            return function

        return mark

    def on_any(
        self, row: type[R], *, rows: Callable[[Meta], Iterable[Key]], but: Iterable[type[Any]] = ()
    ) -> Callable[[Callable[..., R | None]], Callable[..., R | None]]:
        """Declare ``(row | None, meta) -> row | None`` for every event type, except those in ``but``."""
        table = self.tables[row]

        def mark(function: Callable[..., R | None]) -> Callable[..., R | None]:
            handler = Handler(table, lambda _, meta: rows(meta), lambda old, _, meta: function(old, meta))
            self._add(ANY, handler, but)
            return function

        return mark

    def count(
        self, body: type[Any], row: type[R]
    ) -> Callable[[Callable[..., Iterable[R]]], Callable[..., Iterable[R]]]:
        """Declare ``(event, meta) -> increments`` for one event type."""

        def mark(function: Callable[..., Iterable[R]]) -> Callable[..., Iterable[R]]:
            self._add(event_type(body), Handler(self.tables[row], function, None))
            return function

        return mark

    def count_any(
        self, row: type[R], *, but: Iterable[type[Any]] = ()
    ) -> Callable[[Callable[[Meta], Iterable[R]]], Callable[[Meta], Iterable[R]]]:
        """Declare ``(meta) -> increments`` for every event type, except those in ``but``."""

        def mark(function: Callable[[Meta], Iterable[R]]) -> Callable[[Meta], Iterable[R]]:
            self._add(ANY, Handler(self.tables[row], lambda _, meta: function(meta), None), but)
            return function

        return mark

    def _add(self, type_: str, handler: Handler, but: Iterable[type[Any]] = ()) -> None:
        self.handlers.setdefault(type_, []).append(handler)
        self.exempt[id(handler)] = frozenset(event_type(b) for b in but)

    def handlers_of(self, type_: str) -> tuple[Sequence[Handler], Sequence[Handler]]:
        """The functions for an event type: those that need its body, and those that see its Meta only."""
        found = self._by_type.get(type_)
        if found is None:
            general = tuple(h for h in self.handlers.get(ANY, ()) if type_ not in self.exempt[id(h)])
            found = self._by_type[type_] = tuple(self.handlers.get(type_, ())), general
        return found

    def touches(self, type_: str) -> bool:
        """Whether any function is called for this event type."""
        own, general = self.handlers_of(type_)
        return bool(own or general)

    def plan(self, event: Any, meta: Meta) -> list[Step]:
        """What this event will touch: per function the keys (or, of a counter, the increments)."""
        own, general = self._by_type.get(meta.type) or self.handlers_of(meta.type)
        steps = [Step(h, event, tuple(h.rows(event, meta))) for h in own]
        for h in general:
            steps.append(Step(h, None, tuple(h.rows(None, meta))))
        return steps


def tuple_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes these attributes of an object as a tuple."""
    if len(names) == 1:
        one = attrgetter(*names)
        return lambda row: (one(row),)
    return attrgetter(*names)


def _default_rows(key: tuple[str, ...], body: type[Any]) -> Callable[[Any, Meta], Iterable[Key]]:
    own = set(fields_of(body))
    from_meta = {"clinic_id": "clinic"}
    picks = [(name in own, name if name in own else from_meta.get(name, name)) for name in key]

    def rows(event: Any, meta: Meta) -> Iterable[Key]:
        return (tuple(getattr(event if of_event else meta, name) for of_event, name in picks),)

    return rows
