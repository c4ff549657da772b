"""What a resource is searched by: read off its bytes along the paths of its type's search parameters (`search`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from epicrisis.event import record
from epicrisis.fhir.search import ANY, interval, normal, parameters, parameters_of, token
from epicrisis.fhir.spec import Element, types

WORDS = 12
"""So many words of a name are kept."""

_Values = Callable[[Any], Iterable[Any]]


@record
class Facts:
    """What a resource is searched by. ``words``: (parameter, word) of its names."""

    tokens: tuple[int, ...] = ()
    begins: datetime | None = None
    ends: datetime | None = None
    """The moment after the last that the date covers; None with ``begins`` where it is still open."""
    words: tuple[tuple[str, str], ...] = ()


NOTHING = Facts()


class _Coding(msgspec.Struct, gc=False):
    system: str = ""
    code: str = ""


class _Concept(msgspec.Struct, gc=False):
    coding: tuple[_Coding, ...] = ()


class _Reference(msgspec.Struct, gc=False):
    reference: str = ""


class _Period(msgspec.Struct, gc=False):
    start: str = ""
    end: str = ""


class _Name(msgspec.Struct, gc=False):
    family: str = ""
    given: tuple[str | None, ...] = ()
    text: str = ""


_LEAVES: Mapping[str, Any] = {
    "CodeableConcept": _Concept,
    "Coding": _Coding,
    "Reference": _Reference,
    "Period": _Period,
    "HumanName": _Name,
    "boolean": bool,
}


_Token = Callable[[str, Any, dict[int, None]], None]
"""Adds the digests of a value, under a parameter, to those that there are."""
_Add = Callable[[Any, dict[int, None]], None]
"""The same of all that an element holds, under its parameter."""


class _Plan(NamedTuple):
    """How a type is read: an object's elements by their places, and what leads on from there."""

    decode: Callable[[bytes], Any]
    tokens: tuple[tuple[int, _Add], ...]
    references: tuple[tuple[int, _Values, str], ...]
    dates: tuple[tuple[int, _Values, bool], ...]
    names: tuple[tuple[int, _Values, str], ...]


def facts(resource_type: str, raw: bytes) -> Facts:
    """What the bytes of a resource, which passed the gate, say about it."""
    if resource_type not in parameters():
        return NOTHING
    decode, of_tokens, _, of_dates, of_names = _plan(resource_type)
    said = astuple(decode(raw))
    tokens: dict[int, None] = {}
    for at, add in of_tokens:
        if (one := said[at]) is not None:
            add(one, tokens)
    begins, ends = _when(said, of_dates)
    words: dict[tuple[str, str], None] = {}
    for at, values, name in of_names:
        if (one := said[at]) is not None:
            for value in values(one):
                words.update(dict.fromkeys(_words(name, value)))
    return Facts(tokens=tuple(tokens), begins=begins, ends=ends, words=tuple(words)[:WORDS])


def standing_for(resource_type: str, tokens: Sequence[int], local: str, system: str, code: str) -> tuple[int, ...]:
    """The tokens, and those of the standard code wherever they have the local one (``system|code``) that means it."""
    own_system, _, own_code = local.partition("|")
    found = dict.fromkeys(tokens)
    for name, parameter in parameters_of(resource_type).items():
        if parameter.coded and token(name, own_system, own_code) in found:
            found |= dict.fromkeys((token(name, ANY, code), token(name, system, code)))
    return tuple(found)


def references_of(resource_type: str, parameter: str, raw: bytes) -> list[str]:
    """The ids that a resource refers to under a parameter."""
    plan = _plan(resource_type)
    said = astuple(plan.decode(raw))
    wanted = [(at, values) for at, values, name in plan.references if name == parameter]
    found = [value for at, values in wanted if said[at] is not None for value in values(said[at])]
    return [id_ for value in found if (id_ := id_of(value.reference))]


@cache
def _plan(resource_type: str) -> _Plan:
    known = parameters()[resource_type].values()
    each = [(p, path, _leaf(resource_type, path).type) for p in known for path in p.paths]
    struct = _struct(resource_type, [path for _, path, _ in each])

    def begin(path: Sequence[str]) -> tuple[int, _Values]:
        return struct.__struct_fields__.index(path[0]), _values(resource_type, path)

    def adding(path: Sequence[str], name: str, of: str) -> tuple[int, _Add]:
        at, values = begin(path)
        add = _ADDING.get(of, _add_word)
        if len(path) == 1 and not _leaf(resource_type, path).many:
            return at, partial(add, name)

        def each(found: Any, tokens: dict[int, None]) -> None:
            for value in values(found):
                add(name, value, tokens)

        return at, each

    return _Plan(
        decode=msgspec.json.Decoder(struct).decode,
        tokens=tuple(adding(path, p.name, of) for p, path, of in each if p.kind in ("token", "reference")),
        references=tuple((*begin(path), p.name) for p, path, of in each if of == "Reference"),
        dates=tuple((*begin(path), of == "Period") for p, path, of in each if p.kind == "date"),
        names=tuple((*begin(path), p.name) for p, path, _ in each if p.name == "name"),
    )


def _leaf(kind: str, path: Sequence[str]) -> Element:
    element = next(e for e in types()[kind].elements if e.name == path[0])
    return _leaf(element.type, path[1:]) if len(path) > 1 else element


def _struct(kind: str, paths: Sequence[tuple[str, ...]]) -> Any:
    """A class that reads these elements of a type and skips the rest."""
    fields: list[tuple[str, Any, Any]] = []
    for element in types()[kind].elements:
        below = [path[1:] for path in paths if path[0] == element.name]
        if not below:
            continue
        deeper = [path for path in below if path]
        leaf: Any = _LEAVES.get(element.type) or (_struct(element.type, deeper) if deeper else str)
        fields.append((element.name, (list[leaf] if element.many else leaf) | None, None))
    return msgspec.defstruct(kind, fields, gc=False)


def _values(kind: str, path: Sequence[str]) -> _Values:
    """Yields what a path leads to, of the value of its first element."""
    element = _leaf(kind, path[:1])
    each: _Values = iter if element.many else (lambda found: (found,))
    if len(path) == 1:
        return each
    get, below = attrgetter(path[1]), _values(element.type, path[1:])
    return lambda found: [value for one in each(found) if (next_ := get(one)) is not None for value in below(next_)]


def _add_concept(name: str, value: _Concept, tokens: dict[int, None]) -> None:
    for one in value.coding:
        _add_coding(name, one, tokens)


def _add_coding(name: str, value: _Coding, tokens: dict[int, None]) -> None:
    if value.code:
        tokens[token(name, ANY, value.code)] = None
        tokens[token(name, value.system, value.code)] = None


def _add_reference(name: str, value: _Reference, tokens: dict[int, None]) -> None:
    if id_ := id_of(value.reference):
        tokens[token(name, "", id_)] = None


def _add_flag(name: str, value: bool, tokens: dict[int, None]) -> None:
    tokens[token(name, ANY, "true" if value else "false")] = None


def _add_word(name: str, value: str | None, tokens: dict[int, None]) -> None:
    if value:
        tokens[token(name, ANY, value)] = None


_ADDING: Mapping[str, _Token] = {
    "CodeableConcept": _add_concept,
    "Coding": _add_coding,
    "Reference": _add_reference,
    "boolean": _add_flag,
}


def id_of(reference: str) -> str:
    """The id that a reference of the cluster's form names (``Type/id``, perhaps with a version); else empty."""
    parts = reference.split("/")
    return parts[1] if len(parts) in (2, 4) and parts[0].isalpha() else ""


def _when(said: Sequence[Any], dates: Sequence[tuple[int, _Values, bool]]) -> tuple[datetime | None, datetime | None]:
    for at, values, is_period in dates:
        if said[at] is None:
            continue
        for value in values(said[at]):
            try:
                if not is_period:
                    return interval(value)
                if value.start or value.end:
                    begin = interval(value.start)[0] if value.start else None
                    return begin, interval(value.end)[1] if value.end else None
            except (ValueError, OverflowError):
                continue
    return None, None


def _words(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Each part of a name, and where one is of several words, what begins at each of them."""
    if value.__class__ is not _Name:
        yield from (("name", part) for part in _beginnings(value))
        return
    yield from (("family", part) for part in _beginnings(value.family))
    for given in value.given:
        yield from (("given", part) for part in _beginnings(given or ""))
    if not value.family and not value.given:
        yield from (("name", part) for part in _beginnings(value.text))


def _beginnings(text: str) -> Iterator[str]:
    words = normal(text).split()
    return (" ".join(words[n:]) for n in range(len(words)))
