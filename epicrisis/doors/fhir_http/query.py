"""What a search asks for, read off its parameters; nothing is looked up yet.

https://hl7.org/fhir/R4/search.html. A parameter that is not known here is named in a warning, or refused where the
client prefers ``handling=strict``; a modifier, or a value that cannot be read, is always refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from epicrisis.doors.fhir_http.answers import Told, problems, told
from epicrisis.fhir.outcome import Problem
from epicrisis.fhir.search import ANY, Parameter, interval, normal, parameters_of, patient_parameters, token
from epicrisis.fhir.spec import types

COUNT, MOST = 50, 1000
"""Resources on a page: unless the client says how many, and at most."""
VALUES = 100
"""So many values a search may have in all."""

GENERAL = {"_id": "token", "_lastUpdated": "date"}
"""What every type is searched by."""
RESULT = ("_sort", "_count", "_include", "_revinclude", "_summary", "_total")
"""Parameters that shape the answer."""
IGNORED = ("_format", "_pretty")
"""The frame reads them, or they change nothing that matters."""
IDENTIFIED = ("Patient", "Practitioner", "PractitionerRole", "Organization", "Location", "HealthcareService")
"""The types that are recognised by their identifiers: each belongs to one of them."""

_PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?\Z").match
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z").match
_TYPED = re.compile(r"(?:\S+/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?\Z").match


class Named(NamedTuple):
    """A resource as a client names it: by the cluster's id or by its own. ``types``: what it may be."""

    types: tuple[str, ...]
    id: str


class Identified(NamedTuple):
    """A resource by ``system|value``."""

    resource_type: str
    system: str
    value: str


class When(NamedTuple):
    """A comparison with the moments that a date covers."""

    prefix: str
    begin: datetime
    end: datetime


class Word(NamedTuple):
    """How a part of a name begins. ``part``: family, given, or name for any."""

    part: str
    begins: str


@dataclass(frozen=True, slots=True)
class References:
    """A parameter that names other resources: any of them."""

    parameter: str
    wanted: tuple[Named, ...]


class Sort(NamedTuple):
    """What the answer is sorted by; equal ones by id."""

    by: Literal["id", "updated", "date"] = "id"
    down: bool = False


@dataclass(slots=True, kw_only=True)
class Search:
    """Each list holds one item per parameter; all must hold, and of an item's alternatives any."""

    resource_type: str
    patients: list[tuple[Named | Identified, ...]] = field(default_factory=list)
    ids: list[tuple[Named | Identified, ...]] = field(default_factory=list)
    identifiers: list[tuple[Identified, ...]] = field(default_factory=list)
    """Of the types of which several resources may share one."""
    tokens: list[tuple[int, ...]] = field(default_factory=list)
    references: list[References] = field(default_factory=list)
    dates: list[tuple[When, ...]] = field(default_factory=list)
    updated: list[tuple[When, ...]] = field(default_factory=list)
    words: list[tuple[Word, ...]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    provenance: bool = False
    sort: Sort = field(default_factory=Sort)
    count: int = COUNT
    total: bool = False
    only_total: bool = False
    problems: list[Problem] = field(default_factory=list)
    used: list[tuple[str, str]] = field(default_factory=list)
    """The parameters that were not left out: the answer names them, as FHIR wants it."""


def accepted(resource_type: str) -> Mapping[str, str]:
    """Every parameter that resources of a type are searched by, with its kind."""
    known = {**GENERAL, **dict.fromkeys(patient_parameters(resource_type), "reference")}
    if any(element.name == "identifier" for element in types()[resource_type].elements):
        known["identifier"] = "token"
    return {**known, **{p.name: p.kind for p in parameters_of(resource_type).values()}}


def includable(resource_type: str) -> list[str]:
    """The parameters whose resources may be asked for with the matches."""
    return sorted(name for name, kind in accepted(resource_type).items() if kind == "reference")


def search_of(resource_type: str, given: Sequence[tuple[str, str]], *, strict: bool = False) -> Search:
    """Read a search.

    Raises
    ------
    Told
        400: what cannot be read, or (``strict``) is not known.
    """
    found = Search(resource_type=resource_type)
    if sum(value.count(",") + 1 for _, value in given) > VALUES:
        raise told(400, "too-costly", f"a search has at most {VALUES} values: send several")
    for name, value in given:
        left_out = len(found.problems)
        _read(found, name, value)
        if value and len(found.problems) == left_out:
            found.used.append((name, value))
    if strict and found.problems:
        raise Told(problems(400, [_as_error(one) for one in found.problems]))
    return found


def _as_error(problem: Problem) -> Problem:
    return Problem(severity="error", code=problem.code, expression=problem.expression, text=problem.text)


def _read(found: Search, name: str, value: str) -> None:
    plain, _, modifier = name.partition(":")
    kind = found.resource_type
    if plain in IGNORED:
        return
    if plain in RESULT:
        _shape(found, plain, modifier, value)
        return
    if not value:
        return  # an empty parameter is none
    if plain.partition(".")[0] in patient_parameters(kind):
        found.patients.append(_patients(plain, modifier, value))
        return
    if plain not in accepted(kind):
        _leave_out(found, "a search parameter is not known for this type, and was left out: see /metadata")
        return
    if plain == "_id":
        _no_modifier(modifier)
        found.ids.append(tuple(Named((kind,), _id(one)) for one in split(value)))
    elif plain == "identifier":
        _no_modifier(modifier)
        wanted = tuple(_identified(kind, one) for one in split(value))
        if kind in IDENTIFIED:
            found.ids.append(wanted)
        else:
            found.identifiers.append(wanted)
    elif plain == "_lastUpdated":
        _no_modifier(modifier)
        found.updated.append(tuple(map(_when, split(value))))
    else:
        _indexed(found, parameters_of(kind)[plain], modifier, value)


def _indexed(found: Search, parameter: Parameter, modifier: str, value: str) -> None:
    match parameter.kind:
        case "token":
            _no_modifier(modifier)
            found.tokens.append(tuple(_token(parameter, one) for one in split(value)))
        case "reference":
            wanted = tuple(_named(one, modifier, parameter.targets) for one in split(value))
            found.references.append(References(parameter.name, wanted))
        case "date":
            _no_modifier(modifier)
            found.dates.append(tuple(map(_when, split(value))))
        case "string":
            _no_modifier(modifier)
            found.words.append(tuple(_word(parameter.name, one) for one in split(value)))


def _shape(found: Search, name: str, modifier: str, value: str) -> None:
    if modifier:
        raise told(400, "not-supported", "this modifier of a parameter is not supported: see /metadata")
    match name, value:
        case "_count", _:
            found.count = count_of(value)
            found.only_total = found.only_total or found.count == 0
        case "_summary", "count":
            found.only_total = True
        case "_total", "accurate":
            found.total = True
        case ("_summary", "false") | ("_total", "none" | "estimate"):
            pass
        case "_sort", _:
            _sort(found, value)
        case "_revinclude", "Provenance:target":
            found.provenance = True
        case "_revinclude", _:
            _leave_out(found, "a _revinclude is only known of Provenance:target, and was left out")
        case "_include", _:
            _include(found, value)
        case _:
            _leave_out(found, "this form of _summary or _total is not supported, and was left out")


def count_of(value: str) -> int:
    """``_count``, at most `MOST`."""
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise told(400, "value", "_count is a number")
    return min(int(value), MOST)


def _sort(found: Search, value: str) -> None:
    rules = value.split(",")
    by = rules[0].removeprefix("-")
    own = parameters_of(found.resource_type).get(by)
    down = rules[0].startswith("-")
    if by == "_id":
        found.sort = Sort("id", down)
    elif by == "_lastUpdated":
        found.sort = Sort("updated", down)
    elif own is not None and own.kind == "date":
        found.sort = Sort("date", down)
    else:
        _leave_out(found, "sorted is by one of _id, _lastUpdated and the type's date: _sort was left out")
        return
    if len(rules) > 1:
        _leave_out(found, "sorted is by the first of several parameters")
        found.used.append(("_sort", rules[0]))


def _include(found: Search, value: str) -> None:
    source, _, name = value.partition(":")
    name = name.partition(":")[0]
    if source == found.resource_type and name in includable(source):
        found.includes.append(name)
    elif source == found.resource_type and name == "*":
        found.includes += includable(source)
    else:
        _leave_out(found, "an _include does not name a reference parameter of this type, and was left out")


def _leave_out(found: Search, text: str) -> None:
    found.problems.append(Problem(severity="warning", code="not-supported", expression="", text=text))


def _no_modifier(modifier: str) -> None:
    if modifier:
        raise told(400, "not-supported", "this modifier of a search parameter is not supported: see /metadata")


def split(value: str, at: str = ",") -> list[str]:
    """The parts of a value: at commas (or bars) that no backslash escapes. They still have their backslashes."""
    return re.split(rf"(?<!\\){re.escape(at)}", value)


def _plain(text: str) -> str:
    return re.sub(r"\\([,|$\\])", r"\1", text)


def _id(value: str) -> str:
    if not _ID(value):
        raise told(400, "value", "this is no id of a resource")
    return value


def _patients(plain: str, modifier: str, value: str) -> tuple[Named | Identified, ...]:
    _, _, chained = plain.partition(".")
    if "identifier" in (modifier, chained) and not (modifier and chained):
        return tuple(_identified("Patient", one) for one in split(value))
    if chained or modifier not in ("", "Patient"):
        raise told(400, "not-supported", "a patient is named by id or by .identifier: other chains are not supported")
    return tuple(_named(one, "", ("Patient",)) for one in split(value))


def _named(value: str, modifier: str, targets: tuple[str, ...]) -> Named:
    if modifier and not re.fullmatch("[A-Z][A-Za-z]+", modifier):
        raise told(400, "not-supported", "this modifier of a search parameter is not supported: see /metadata")
    if typed := _TYPED(value):
        return Named((typed[1],), typed[2])
    return Named((modifier,) if modifier else targets, _id(value))


def _identified(kind: str, value: str) -> Identified:
    system, *rest = split(value, "|")
    if not system or not any(rest):
        raise told(400, "value", "an identifier is searched by system|value: it is indexed by both together")
    return Identified(kind, _plain(system), _plain("|".join(rest)))


def _token(parameter: Parameter, value: str) -> int:
    *system, code = split(value, "|")
    if not code:
        raise told(400, "not-supported", "name a code: all codes of a system cannot be searched for")
    if not system or not parameter.coded:
        return token(parameter.name, ANY, _plain(code))
    return token(parameter.name, _plain("|".join(system)), _plain(code))


def _when(value: str) -> When:
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    if prefix not in _PREFIXES:
        raise told(400, "not-supported", f"a date is compared by {', '.join(_PREFIXES)}")
    text = text.replace(" ", "+")  # a plus sign that was not escaped
    try:
        if not _DATE(text):
            raise ValueError
        return When(prefix, *interval(text))
    except (ValueError, OverflowError):
        raise told(400, "value", "this is no date: write 2026, 2026-03, 2026-03-01 or 2026-03-01T12:00:00Z") from None


def _word(part: str, value: str) -> Word:
    return Word(part, normal(_plain(value)))


def is_uuid(text: str) -> bool:
    """Whether an id has the form that the cluster's ids have."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None
