"""Read facts off the Structs that the gate parsed.

Every function takes an element that may be absent (`msgspec.UNSET`) or, in an array beside a `_field`, None.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from msgspec import UNSET, UnsetType

CLINIC = "urn:epicrisis:clinic"
"""The identifier system by which a resource names a clinic."""

# The Structs are made at run time from the metadata: their static type is Any.


def absent(value: object) -> TypeGuard[UnsetType | None]:
    """Whether an element was not given."""
    return value is UNSET or value is None


def text(concept: Any) -> str | None:
    """What a person reads in a CodeableConcept: its text, else the display of its first coding that has one."""
    if absent(concept):
        return None
    if not absent(concept.text):
        return str(concept.text)
    codings = [] if absent(concept.coding) else concept.coding
    return next((str(c.display) for c in codings if not absent(c.display)), None)


def reference(value: Any) -> str | None:
    """The reference string of a Reference."""
    return None if absent(value) else _given(value.reference)


def clinic_named(value: Any) -> str:
    """The clinic (``operator/site``) that a Reference names by its identifier, or empty."""
    if absent(value) or absent(value.identifier) or value.identifier.system != CLINIC:
        return ""
    return "" if absent(value.identifier.value) else str(value.identifier.value)


def instant(value: str) -> datetime:
    """The start of a FHIR date, dateTime or instant, in UTC; a partial one starts its year, month or day in UTC.

    A leap second counts as the second before; digits beyond microseconds are cut off.
    """
    if len(value) <= len("2020-01-01"):
        year, month, day = (*(int(part) for part in value.split("-")), 1, 1)[:3]
        return datetime(year, month, day, tzinfo=UTC)
    clock = value[:19]
    if clock.endswith(":60"):
        clock = clock[:-2] + "59"
    fraction, zone = value[19:], "Z"
    for sign in "Z+-":
        if (found := fraction.find(sign)) >= 0:
            fraction, zone = fraction[:found], fraction[found:]
            break
    moment = datetime.fromisoformat(clock).replace(tzinfo=UTC)
    moment += timedelta(microseconds=int(fraction[1:7].ljust(6, "0")) if fraction else 0)
    return moment if zone == "Z" else _minus(moment, zone)


def _minus(moment: datetime, zone: str) -> datetime:
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    try:
        return moment + offset if zone[0] == "-" else moment - offset
    except OverflowError:  # the first or last hours that Python can count: FHIR's year 0001 east of Greenwich
        return moment


def instant_text(moment: datetime) -> str:
    """A moment as a FHIR instant in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def period(value: Any) -> tuple[datetime | None, datetime | None]:
    """Start and end of a Period; either may be open."""
    if absent(value):
        return None, None
    return moment(value.start), moment(value.end)


def moment(value: Any) -> datetime | None:
    """A date, dateTime or instant that may be absent, as `instant` reads it."""
    return None if absent(value) else instant(value)


def last_updated(resource: Any) -> datetime | None:
    """When the sender made this version: the nearest thing to when what has no date of its own happened."""
    return None if absent(resource.meta) else moment(resource.meta.lastUpdated)


def _given(value: Any) -> str | None:
    return None if absent(value) else str(value)
