"""The mapping tables as they are applied: rows, resources, groups."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from functools import cached_property
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from epicrisis.doors.hl7v2.source import Source, Term
from epicrisis.doors.hl7v2.target import Target

LEVELS = ("message", "patient", "order", "item")

As: TypeAlias = Literal[
    "plain",
    "zoned",
    "system",
    "table",
    "authority",
    "own",
    "id",
    "text",
    "lines",
    "person",
    "phone",
    "clinic",
    "code",
    "type",
    "segment",
]
Write: TypeAlias = Literal["always", "new", "never"]


class Row(Struct, frozen=True, kw_only=True):
    """How one element is filled. ``word`` and ``argument`` are what `as` says: ``CWE 0131``, ``code 0001``."""

    sources: tuple[Source, ...]
    when: tuple[Term, ...]
    target: Target
    required: bool
    how: As
    word: str = ""
    argument: str = ""
    lenient: bool = False
    """What cannot be converted is left out, with a warning."""


class Table(Struct, frozen=True, kw_only=True, eq=False):
    """The rows of one file. ``pure``: of one sender, the same text always becomes the same."""

    name: str
    rows: tuple[Row, ...]
    pure: bool = False


class Code(Struct, frozen=True):
    """A code of FHIR; empty: the code says nothing that FHIR has a word for."""

    code: str
    system: str = ""
    display: str = ""


class Part(Struct, frozen=True):
    """A part of what an id is made of."""

    sources: tuple[Source, ...]
    optional: bool = False


class Resource(Struct, frozen=True, kw_only=True):
    """A segment that becomes a resource. ``ids``: what its id may be made of, the best first; none: by identifier."""

    segment: str
    type: str
    table: Table
    ids: tuple[tuple[Part, ...], ...]
    when: tuple[Term, ...]
    required: bool
    write: Write
    """``new``: only where nobody is known by its identifiers; ``never``: it is only referred to."""


class Opens(Struct, frozen=True):
    """A segment that begins a group of a level; ``again``: only where the open one has such a segment already."""

    level: int
    again: bool


class Mappings(Struct, frozen=True, kw_only=True, dict=True, eq=False):
    """All tables of one operator."""

    kinds: Mapping[str, str]
    groups: Mapping[str, Opens]
    resources: Mapping[str, Mapping[str, tuple[Resource, ...]]]
    """By kind of message, then by segment."""
    segments: Mapping[str, Table]
    types: Mapping[str, Table]
    codes: Mapping[str, Mapping[str, Code]]
    systems: Mapping[str, str]
    authorities: Mapping[str, str]
    clinics: Mapping[str, str]
    charsets: Mapping[str, str]
    zone: tzinfo | None

    @cached_property
    def memo(self) -> dict[Any, dict[Any, Any]]:
        """What pure tables have made of a text before, by separators, character set and sender; whoever fills it
        bounds it.
        """
        return {}

    @cached_property
    def read(self) -> Mapping[str, frozenset[str]]:
        """Per kind of message the segments that some table reads."""
        found: dict[str, frozenset[str]] = {}
        for kind, by_segment in self.resources.items():
            names = {"MSH", *by_segment}
            for resource in (r for some in by_segment.values() for r in some):
                names |= self._read_by(resource.table)
            found[kind] = frozenset(names)
        return found

    def _read_by(self, table: Table) -> set[str]:
        names: set[str] = set()
        for row in table.rows:
            every = [*row.sources, *(term.source for term in row.when)]
            names |= {source.segment for source in every if source.segment}
            if row.how == "segment":
                names |= self._read_by(self.segments[row.word])
        return names
