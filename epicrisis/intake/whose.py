"""Whose history a resource belongs to: the references in it that may name the patient.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET

_WAYS = (
    *("subject", "patient", "beneficiary", "for_", "individual", "candidate", "target", "source"),
    *("actor", "participant.actor", "deliverTo", "link.target", "entity.what"),
)
"""The elements that may name the patient, the best first."""


def references(parsed: Any) -> Iterator[tuple[str, str]]:
    """The elements of a resource that may name its patient, and what they refer to, the best first."""
    for name, *inside in _ways(parsed.__class__):
        for one in _objects(parsed, name, inside):
            target = getattr(one, "reference", None)
            if isinstance(target, str):
                yield name, target


@cache
def _ways(kind: type[msgspec.Struct]) -> tuple[list[str], ...]:
    """Those of a type, each as its steps."""
    ways = (way.split(".") for way in _WAYS)
    return tuple(way for way in ways if way[0] in kind.__struct_fields__)


def _objects(parsed: Any, name: str, inside: Sequence[str]) -> Iterable[Any]:
    """What lies there; nothing where there is no object."""
    value = getattr(parsed, name, UNSET)
    if value is UNSET or isinstance(value, str):
        return ()
    values = value if isinstance(value, list) else (value,)
    return [one for each in values for one in _objects(each, inside[0], inside[1:])] if inside else values
