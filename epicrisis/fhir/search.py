"""By what resources are searched: the search parameters of R4 that are indexed, and how their values are compared.

`search.toml` lists them. A token (a code, a status, a flag) and a reference become 64-bit digests, so that a row of the
chart keeps a few numbers instead of long addresses; a date becomes the interval that it stands for. `searched` reads
off a resource what it says under each.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from hashlib import blake2b
from importlib.resources import files
from typing import Literal, NamedTuple

from epicrisis.fhir.spec import Element, types
from epicrisis.fhir.values import instant

Kind = Literal["token", "reference", "date", "string"]

_KINDS: Mapping[str, Kind] = {
    "CodeableConcept": "token",
    "Coding": "token",
    "code": "token",
    "boolean": "token",
    "Reference": "reference",
    "date": "date",
    "dateTime": "date",
    "instant": "date",
    "Period": "date",
    "HumanName": "string",
    "string": "string",
}
_PATIENT = ("subject", "patient")
"""The elements by which a resource names its patient."""
_OTHERWISE: Mapping[str, tuple[str, ...]] = {
    "Appointment": ("patient",),
    "AppointmentResponse": ("patient",),
    "AuditEvent": ("patient",),
    "Coverage": ("beneficiary", "patient"),
    "EnrollmentRequest": ("patient", "subject"),
    "Person": ("patient",),
    "ResearchSubject": ("individual", "patient"),
    "SupplyRequest": ("subject",),
    "Task": ("patient", "subject"),
}
"""What the patient is called where that is not the element's name."""
ANY = "*"
"""Stands for whatever system a code has."""
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class Parameter(NamedTuple):
    """A search parameter of one resource type. ``paths``: where its values are, in the resource's elements."""

    name: str
    kind: Kind
    paths: tuple[tuple[str, ...], ...]
    targets: tuple[str, ...]
    """The types that a reference may lead to; empty: any."""
    coded: bool
    """Whether its values are codes of a code system, not plain words."""


@cache
def parameters() -> Mapping[str, Mapping[str, Parameter]]:
    """The parameters of `search.toml` by resource type and name."""
    given = tomllib.loads(files(__package__).joinpath("search.toml").read_text(encoding="utf-8"))
    return {kind: {p.name: p for p in (_parameter(kind, line) for line in lines)} for kind, lines in given.items()}


def parameters_of(resource_type: str) -> Mapping[str, Parameter]:
    """Those of one type; none where it has none of its own."""
    return parameters().get(resource_type, {})


@cache
def patient_parameters(resource_type: str) -> tuple[str, ...]:
    """By which names resources of a type are searched for a patient: ``patient``, ``subject``, both or none."""
    if resource_type in _OTHERWISE:
        return _OTHERWISE[resource_type]
    elements = {element.name: element for element in types()[resource_type].elements}
    naming = [
        name
        for name in _PATIENT
        if name in elements
        and elements[name].type == "Reference"
        and (not elements[name].targets or "Patient" in elements[name].targets)
    ]
    if resource_type == "Patient" or not naming:
        return ()
    return ("patient", "subject") if "subject" in naming else ("patient",)


def _parameter(kind: str, line: str) -> Parameter:
    name, _, said = (part.strip() for part in line.partition("="))
    path = (said or re.sub("-([a-z])", lambda found: found[1].upper(), name)).split(".")
    paths, leaf = [], None
    for full, element in _elements(kind, path):
        if element.type in _KINDS and (not path[-1].endswith("[x]") or _KINDS[element.type] == "date"):
            paths.append(full)
            leaf = element
    if leaf is None:
        raise ValueError(f"{kind}: nothing that can be searched by is at {line}")
    return Parameter(name, _KINDS[leaf.type], tuple(paths), leaf.targets, leaf.type in ("CodeableConcept", "Coding"))


def _elements(kind: str, path: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Element]]:
    """The elements of a type that a path leads to, each with its full path; several where it ends in ``[x]``."""
    first, rest = path[0], path[1:]
    for element in types()[kind].elements:
        if element.name == first or (first.endswith("[x]") and element.choice == first[:-3]):
            if rest:
                for below, leaf in _elements(element.type, rest):
                    yield (element.name, *below), leaf
            else:
                yield (element.name,), element


# Tokens, words, moments


@lru_cache(maxsize=65_536)
def token(parameter: str, system: str, code: str) -> int:
    """The digest of a code under a parameter, a signed 64-bit number. ``system`` may be `ANY`.

    Of a reference the system is empty and the code the id.
    """
    text = f"{parameter}\x1f{system}\x1f{code}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True)


def normal(text: str) -> str:
    """A word as names are compared: without case, accents and surplus space."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(plain.split())


_UNITS = ((4, "year"), (7, "month"), (10, "day"), (16, "minute"), (19, "second"))


@lru_cache(maxsize=16_384)  # what happens in one encounter has one date
def interval(text: str) -> tuple[datetime, datetime]:
    """The moments that a FHIR date, dateTime or instant covers: its first, and the first after it. In UTC.

    Raises
    ------
    ValueError
        It is none, or beyond the years that can be counted.
    """
    if len(text) < len("2020-01-01T00:00:00"):
        text, zone = text[:16], text[16:]
        short = len(text)
        begin = instant(text if short <= 10 else f"{text}:00{zone or 'Z'}")
    else:
        short, begin = 19, instant(text if text[-1] == "Z" or re.search(r"[+-]\d\d:\d\d$", text) else f"{text}Z")
    unit = next((unit for length, unit in _UNITS if length == short), None)
    if unit is None:
        raise ValueError("not a FHIR date")
    return begin, _after(begin, unit, exact="." in text)


def _after(begin: datetime, unit: str, *, exact: bool) -> datetime:
    try:
        match unit:
            case "year":
                return begin.replace(year=begin.year + 1)
            case "month":
                return (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
            case "day":
                return begin + timedelta(days=1)
            case "minute":
                return begin + timedelta(minutes=1)
            case _:
                return begin + (timedelta(milliseconds=1) if exact else timedelta(seconds=1))
    except (OverflowError, ValueError):
        return FOREVER
