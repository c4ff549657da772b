"""Reads the facts that a chart is searched by off any FHIR resource.

Which element holds the date, the status, the code, the category and the encounter differs from type to type: that is
looked up once per type in R4's metadata. Reading is on the hottest path: no copies, no parsing; what repeats is
remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar

from msgspec import UNSET

from epicrisis.decider import Inbound, Reader, To
from epicrisis.fhir.codes import Fact, Reading
from epicrisis.fhir.spec import Element, attribute, types
from epicrisis.fhir.values import absent, instant
from schemas.common import Coding
from services.chart.decider import RecordResource, RetractResource

T = TypeVar("T")
Read: TypeAlias = Callable[[Any], T]
"""Reads one fact off a parsed resource: its Struct is made at run time, hence Any."""
ReadCode: TypeAlias = Callable[[Any, Reading], Coding]
"""The same for a code, by the operator's code map."""

# The elements that may hold a fact, best first; a type has those that R4 gives it.
_DATES = (
    "effectiveDateTime effectivePeriod effectiveInstant performedDateTime performedPeriod occurrenceDateTime "
    "occurrencePeriod occurredDateTime occurredPeriod started start period billablePeriod servicedDate servicedPeriod "
    "executionPeriod whenHandedOver whenPrepared createdDateTime createdPeriod timingDateTime timingPeriod "
    "identifiedDateTime identifiedPeriod startDate statusDate dateTime sent authoredOn authored dateAsserted date "
    "recordedDate recorded recordedOn dateWritten issued created receivedTime requestedPeriod"
).split()
_STATUSES = "status lifecycleStatus clinicalStatus verificationStatus".split()
_CODES = (
    "code vaccineCode medicationCodeableConcept codeCodeableConcept itemCodeableConcept productCodeableConcept type "
    "procedureCode event activity description serviceType appointmentType topic relationship targetDisease modality"
).split()
_CATEGORIES = ("category", "class", "scope")
_ENCOUNTERS = ("encounter", "context")
_IN_ERROR = "entered-in-error"
_NO_CODING = Coding()
_AS_SENT = Reading()


class Facts(NamedTuple):
    """How the facts of one resource type are read."""

    date: Read[str]
    status: Read[str]
    verification: Read[str] | None
    code: ReadCode
    category: ReadCode
    encounter: Read[str]


def fallback(inbound: Inbound) -> Sequence[To]:
    """Keep a resource that no other service keeps."""
    resource = inbound.resource
    resource_type, resource_id = inbound.resource_type, inbound.resource_id
    stream = f"{resource_type}/{resource_id}"
    if resource is None or inbound.method == "DELETE":
        gone = RetractResource(resource_type=resource_type, resource_id=resource_id, resource=b"")
        return (To(stream=stream, command=gone),)
    date, status, verification, code, category, encounter = facts_of(resource_type)
    said = status(resource)
    if said == _IN_ERROR or (verification is not None and verification(resource) == _IN_ERROR):
        wrong = RetractResource(resource_type=resource_type, resource_id=resource_id, resource=inbound.raw)
        return (To(stream=stream, command=wrong),)
    when = date(resource)
    where = encounter(resource)
    if where:
        where = inbound.resolve(where)
        where = where[10:] if where.startswith("Encounter/") else ""
    record = RecordResource(
        resource_type=resource_type,
        resource_id=resource_id,
        status=said,
        category=category(resource, inbound.codes),
        code=code(resource, inbound.codes),
        date=when,
        encounter_id=where,
        resource=inbound.raw,
    )
    return (To(stream=stream, command=record, effective=_moment(when) if when else None),)


@cache
def facts_of(resource_type: str) -> Facts:
    """Where this type keeps its facts."""
    elements = {element.name: element for element in types()[resource_type].elements}

    def found(names: Sequence[str], *of_type: str) -> list[Element]:
        return [elements[n] for n in names if n in elements and elements[n].type in of_type]

    verification = found(["verificationStatus"], "CodeableConcept")
    return Facts(
        date=_first([_date(e) for e in found(_DATES, "date", "dateTime", "instant", "Period")], ""),
        status=_first([_word(e) for e in found(_STATUSES, "code", "CodeableConcept")], ""),
        verification=_word(verification[0]) if verification else None,
        code=_first_code([_concept(e) for e in found(_CODES, "CodeableConcept", "Coding")]),
        category=_first_code([_concept(e) for e in found(_CATEGORIES, "CodeableConcept", "Coding", "code")]),
        encounter=_first([_reference(e) for e in found(_ENCOUNTERS, "Reference") if not e.many], ""),
    )


def _first(reads: Sequence[Read[T]], nothing: T) -> Read[T]:
    """The first that finds something."""
    if len(reads) == 1:
        return reads[0]

    def read(resource: Any) -> T:
        for one in reads:
            if (found := one(resource)) != nothing:
                return found
        return nothing

    return read


def _first_code(reads: Sequence[ReadCode]) -> ReadCode:
    if len(reads) == 1:
        return reads[0]

    def read(resource: Any, codes: Reading) -> Coding:
        for one in reads:
            if (found := one(resource, codes)) != _NO_CODING:
                return found
        return _NO_CODING

    return read


def _date(element: Element) -> Read[str]:
    get = attrgetter(attribute(element.name))
    if element.type != "Period":
        return lambda resource: value if (value := get(resource)).__class__ is str else ""

    def start(resource: Any) -> str:
        period = get(resource)
        return "" if period is UNSET or period.start.__class__ is not str else period.start

    return start


def _word(element: Element) -> Read[str]:
    """A status: a code, or the code of a concept."""
    get = attrgetter(attribute(element.name))
    if element.type == "code":
        return lambda resource: value if (value := get(resource)).__class__ is str else ""
    concept = _concept(element)
    return lambda resource: concept(resource, _AS_SENT).code


def _concept(element: Element) -> ReadCode:
    get = attrgetter(attribute(element.name))
    many, of_type = element.many, element.type

    def read(resource: Any, codes: Reading) -> Coding:
        value = get(resource)
        if value is UNSET:
            return _NO_CODING
        if many:
            value = value[0]
        if of_type == "CodeableConcept":
            return _coding(codes.concept(value))
        if of_type == "code":  # of the value set that FHIR requires
            return _NO_CODING if absent(value) else _coding(Fact("", value, ""))
        return _coding(codes.coding(value))

    return read


def _reference(element: Element) -> Read[str]:
    get = attrgetter(attribute(element.name))

    def read(resource: Any) -> str:
        value = get(resource)
        return "" if value is UNSET or value.reference.__class__ is not str else value.reference

    return read


@lru_cache(maxsize=16_384)
def _coding(fact: Fact) -> Coding:
    return Coding.of(fact)


@lru_cache(maxsize=16_384)
def _moment(date: str) -> datetime | None:
    try:
        return instant(date)
    except (ValueError, OverflowError):
        return None


reads: Mapping[str, Reader] = {}
