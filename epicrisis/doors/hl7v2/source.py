"""Where a mapping row takes its value from, and when it holds: read once, from the words in a table.

    PID-5        every repetition of the field                   "active"    this text itself
    PID-5.1.2    a component's subcomponent (of each repetition)  {table}     the argument of the data type's row
    .4  .4.1  .  the same inside a data type                      @Encounter  a reference to the resource of this type
    NK1*         every NK1 segment of the group                   @Specimen*  … to each of this type in the group
    A|B          the first that has a value

A condition is `PID-30`, `!PID-30` (has, has no value), `PV1-2=P|N`, `PV1-2!=P`, `OBX-5 repeats`, joined by ` & `.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from msgspec import Struct

_FIELD = re.compile(r"([A-Z][A-Z0-9]{2})-(\d{1,3})(?:\.(\d{1,2}))?(?:\.(\d{1,2}))?\Z").match
_PART = re.compile(r"\.(?:(\d{1,2})(?:\.(\d{1,2}))?)?\Z").match
_EACH = re.compile(r"([A-Z][A-Z0-9]{2})\*\Z").match
_RESOURCE = re.compile(r"@([A-Z][A-Za-z]+)(\*?)\Z").match

Kind: TypeAlias = Literal["field", "part", "text", "argument", "segments", "resource"]


class Source(Struct, frozen=True):
    """A place that a value comes from; ``component`` 0 is the whole."""

    kind: Kind
    segment: str = ""
    field: int = 0
    component: int = 0
    subcomponent: int = 0
    text: str = ""
    many: bool = False


class Term(Struct, frozen=True):
    """One term of a condition. ``values`` empty: whether there is a value at all."""

    source: Source
    others: tuple[Source, ...] = ()
    values: frozenset[str] = frozenset()
    negated: bool = False
    repeats: bool = False


def sources(words: str) -> tuple[Source, ...]:
    """Alternatives, the best first; ValueError with a sentence where it is none."""
    if words.startswith('"') and words.endswith('"') and len(words) > 2:
        return (Source("text", text=words[1:-1]),)
    return tuple(_source(word.strip()) for word in words.split("|"))


def condition(words: str) -> tuple[Term, ...]:
    """The terms of a condition, none where it always holds; ValueError where it is none."""
    return tuple(_term(word.strip()) for word in words.split(" & ")) if words else ()


def _source(word: str) -> Source:
    if word == "{table}":
        return Source("argument")
    if found := _FIELD(word):
        return Source("field", found[1], int(found[2]), int(found[3] or 0), int(found[4] or 0))
    if found := _PART(word):
        return Source("part", component=int(found[1] or 0), subcomponent=int(found[2] or 0))
    if found := _EACH(word):
        return Source("segments", found[1])
    if found := _RESOURCE(word):
        return Source("resource", text=found[1], many=bool(found[2]))
    raise ValueError('a source is PID-5, PID-5.1, .1, NK1*, @Patient or "text"')


def _term(word: str) -> Term:
    if word.endswith(" repeats"):
        what = word.removesuffix(" repeats").strip()
        return Term(_source(what.removeprefix("!")), negated=what.startswith("!"), repeats=True)
    for sign, negated in (("!=", True), ("=", False)):
        if sign in word:
            left, right = word.split(sign, 1)
            return Term(_source(left.strip()), (), frozenset(v.strip() for v in right.split("|")), negated)
    first, *others = sources(word.removeprefix("!").strip())
    return Term(first, tuple(others), negated=word.startswith("!"))
