"""HL7 v2 values as FHIR primitives. Each takes plain text and says what it is in FHIR, or raises ValueError.

What a value cannot be in FHIR is refused, not repaired: a date that is none, a number with a comma.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import msgspec

from epicrisis.fhir.lexical import matches

URN = "urn:epicrisis:hl7v2:"
"""Begins the system of an identifier or a code whose sender named it by a word of its own."""

_DTM = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(\.\d{1,4})?)?)?)?)?)?([+-]\d{4})?\Z").match
_NUMBER = re.compile(r"([+-]?)0*(\d+(?:\.\d+)?|\.\d+)\Z").match
_TIME = re.compile(r"(\d\d)(\d\d)(?:(\d\d)(\.\d{1,4})?)?\Z").match
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+\Z").match
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z").match


def string(text: str) -> str:
    return text


def code(text: str) -> str:
    """Without the white space that FHIR forbids."""
    return " ".join(text.split())


def boolean(text: str) -> bool:
    """FHIR's own words; Y and N are a table's (0136)."""
    if text not in ("true", "false"):
        raise ValueError("it must be true or false")
    return text == "true"


def decimal(text: str) -> msgspec.Raw:
    """The digits as they were sent (1.10 stays 1.10), without the plus and leading zeros that JSON forbids."""
    found = _NUMBER(text)
    if found is None:
        raise ValueError("it must be a number")
    digits = found[2] if found[2][0] != "." else f"0{found[2]}"
    return msgspec.Raw(f"{'-' if found[1] == '-' else ''}{digits}".encode())


def integer(text: str) -> int:
    if not text.lstrip("+-").isdecimal():
        raise ValueError("it must be a whole number")
    return int(text)


def uri(text: str) -> str:
    return quote(text, safe=":/?#[]@!$&'()*+,;=%-._~")


def date(text: str) -> str:
    """The day, month or year of a DT or DTM."""
    return date_time(text, None)[:10]


def date_time(text: str, zone: tzinfo | None) -> str:
    """A DTM as a FHIR dateTime; empty where it is all zeros, which says nothing.

    Without a zone in it, nor a default, a time of day says nothing either: the day alone stays.
    """
    if not text.strip("0"):
        return ""
    found = _DTM(text)
    if found is None:
        raise ValueError("it must be YYYY[MM[DD[HHMM[SS[.S]]]]][+ZZZZ]")
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    value = "-".join(part for part in (year, month, day) if part)
    if minute is not None:
        at = f"{value}T{hour}:{minute}:{second or '00'}{fraction or ''}"
        if offset:
            value = f"{at}{offset[:3]}:{offset[3:]}"
        elif zone is not None:
            value = at + _offset(at, zone)
    if not matches("dateTime")(value):
        raise ValueError("there is no such date or time")
    return value


def instant(text: str, zone: tzinfo | None) -> str:
    value = date_time(text, zone)
    if value and "T" not in value:
        raise ValueError("it must say the time to the minute, with its zone (or set `zone` in settings.csv)")
    return value


def time(text: str) -> str:
    found = _TIME(text)
    value = f"{found[1]}:{found[2]}:{found[3] or '00'}{found[4] or ''}" if found else ""
    if not matches("time")(value):
        raise ValueError("it must be HHMM[SS[.S]]")
    return value


def _offset(at: str, zone: tzinfo) -> str:
    try:
        aware = datetime.fromisoformat(at[:19]).replace(tzinfo=zone)
    except ValueError:
        return "Z"  # no such time: the check of the whole says so
    text = aware.strftime("%z")
    return "Z" if zone is UTC or text == "+0000" else f"{text[:3]}:{text[3:5]}"


def authority(namespace: str, universal: str, kind: str, known: Mapping[str, str]) -> str:
    """The system of an identifier from an HD: by the table, else by its universal id, else the sender's own word."""
    for word in (namespace, universal):
        if word and (found := known.get(word.upper())):
            return found
    if universal:
        if kind in ("ISO", "OID", "") and _OID(universal):
            return f"urn:oid:{universal}"
        if kind in ("GUID", "UUID", "") and _UUID(universal):
            return f"urn:uuid:{universal.lower()}"
        if kind in ("URI", "URL") and ":" in universal:
            return uri(universal)
    return own(namespace or universal)


@lru_cache(maxsize=1024)
def own(*words: str) -> str:
    """The system for what a sender names by words of its own."""
    return URN + ":".join(quote(word, safe="") for word in words if word)


def own_id(parts: Sequence[str]) -> str:
    """A FHIR id made of what a sender calls something by: the same every time, and it tells nothing."""
    return sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def person(parts: Sequence[str]) -> str:
    """A name as it is spoken to, from family, given, further, suffix, prefix (XPN; XCN from its second part on)."""
    family, given, further, suffix, prefix = (*parts, "", "", "", "", "")[:5]
    return " ".join(part for part in (prefix, given, further, family, suffix) if part)


def phone(parts: Sequence[str]) -> str:
    """A number from country, area, local number and extension (XTN-5 to 8); without a local number there is none."""
    country, area, local, extension = (*parts, *("",) * 8)[4:8]
    if not local:
        return ""
    country = country if not country or country.startswith("+") else f"+{country}"
    return " ".join(part for part in (country, area, local, extension and f"x{extension}") if part)


PLAIN: Mapping[str, Callable[[str], Any]] = {
    "string": string,
    "markdown": string,
    "code": code,
    "boolean": boolean,
    "decimal": decimal,
    "integer": integer,
    "unsignedInt": integer,
    "positiveInt": integer,
    "uri": uri,
    "url": uri,
    "date": date,
    "time": time,
    "base64Binary": string,
}
ZONED: Mapping[str, Callable[[str, tzinfo | None], str]] = {"dateTime": date_time, "instant": instant}
