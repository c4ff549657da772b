"""An HL7 v2 message as text: decoded, cut into segments, each part read when it is asked for.

Chapter 2 of the standard (https://www.hl7.eu/HL7v2x/v28/std28/ch02.html). Most fields of a message are never read: so
only segments are cut at once. The `hl7` library cuts everything into objects first; see decision 0018.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from epicrisis.doors.hl7v2.errors import DATA_TYPE, SEQUENCE, Fault, NotMapped, Place

_BOM = b"\xef\xbb\xbf"
_HEADER = re.compile(rb"\s*MSH([^\w\s])([^\r\n]*)").match
_ENDS = re.compile(r"\r\n?|\n(?=[A-Z][A-Z0-9]{2}(?:\W|\Z))")
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}\Z").match
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+\Z").match
_BREAKS = frozenset((".br", ".sp"))
_NOTHING = frozenset(("H", "N"))
"""Escapes for highlighting: the text stays."""

NULL = '""'
"""Two quotes: the sender says that there is no value."""


class Separators(NamedTuple):
    """The characters of MSH-1 and MSH-2. ``escape`` is empty where the sender uses none."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


class Segment:
    """A segment: ``sequence`` counts those of its name from 1; ``fields[n]`` is field n as it was sent."""

    __slots__ = ("fields", "name", "sequence")

    def __init__(self, name: str, sequence: int, fields: list[str]) -> None:
        self.name = name
        self.sequence = sequence
        self.fields = fields

    def field(self, number: int) -> str:
        """A field as it was sent, empty where there is none."""
        return self.fields[number] if number < len(self.fields) else ""


class Message:
    """A message: ``segments`` in order, MSH first."""

    def __init__(self, text: str, codec: str) -> None:
        self.codec = codec
        lines = [line for line in _ENDS.split(text) if line and not line.isspace()]
        self.separators = separators = _separators(lines[0])
        sequences: dict[str, int] = {}
        self.segments: list[Segment] = []
        for line in lines:
            line = line.lstrip("\n")
            fields = line.split(separators.field)
            name = fields[0].strip()
            if _NAME(name) is None:
                place = Place(self.segments[-1].name, self.segments[-1].sequence) if self.segments else Place("MSH")
                raise NotMapped([Fault(code=SEQUENCE, place=place, text="a line behind this segment is no segment")])
            if name == "MSH":
                fields = ["MSH", separators.field, *fields[1:]]
            sequence = sequences[name] = sequences.get(name, 0) + 1
            self.segments.append(Segment(name, sequence, fields))
        if sequences["MSH"] > 1:
            raise NotMapped([Fault(code=SEQUENCE, place=Place("MSH", 2), text="two messages in one, without a batch")])

    @cached_property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    def part(self, text: str, component: int, subcomponent: int = 1) -> str:
        """A component's subcomponent of a repetition, as plain text."""
        whole = nth(text, self.separators.component, component)
        return self.plain(nth(whole, self.separators.subcomponent, subcomponent))

    def head(self, number: int, component: int = 1) -> str:
        """A component of a field of MSH, as plain text."""
        return self.part(self.header.field(number).split(self.separators.repetition)[0], component)

    def plain(self, text: str) -> str:
        """Without escapes and outer white space; empty for the explicit null."""
        escape = self.separators.escape
        if escape and escape in text:
            text = self._unescaped(text, escape)
        text = text.strip()
        return "" if text == NULL else text

    @property
    def type(self) -> str:
        """``ADT^A01``: message code and event, which EVN-1 says where MSH-9 does not."""
        code, event = self.head(9), self.head(9, 2)
        if not event:
            event = next((self.part(s.field(1), 1) for s in self.segments if s.name == "EVN"), "")
        return f"{code}^{event}"

    def _unescaped(self, text: str, escape: str) -> str:
        """Chapter 2.7; what is no escape known here stays as it is."""
        parts = text.split(escape)
        made = [parts[0]]
        index = 1
        while index < len(parts):
            found = self._escape(parts[index]) if index + 1 < len(parts) else None
            if found is None:
                made.append(escape + parts[index])
                index += 1
            else:
                made.append(found + parts[index + 1])
                index += 2
        return "".join(made)

    def _escape(self, code: str) -> str | None:
        separators = self.separators
        match code:
            case "F":
                return separators.field
            case "S":
                return separators.component
            case "T":
                return separators.subcomponent
            case "R":
                return separators.repetition
            case "E":
                return separators.escape
            case "":
                return None
        if code in _NOTHING:
            return ""
        if code[:3] in _BREAKS:
            return "\n"
        if code[0] == "X" and _HEX(code[1:]):
            return bytes.fromhex(code[1:]).decode(self.codec, "replace")
        return None


def read(raw: bytes, charsets: Mapping[str, str]) -> Message:
    """Decode and cut a message.

    ``charsets`` maps names of table 0211 to Python's codecs; the empty name is for messages that name none.

    Raises
    ------
    NotMapped
        It is no HL7 v2 message, or not in the character set that it names.
    """
    raw = raw.removeprefix(_BOM)
    found = _HEADER(raw)
    if found is None:
        raise NotMapped([Fault(code=SEQUENCE, place=Place("MSH"), text="a message begins with MSH")])
    fields = found[2].split(found[1])
    repetition = fields[0][1:2] or b"~"
    name = fields[16].split(repetition)[0].strip().decode("ascii", "replace").upper() if len(fields) > 16 else ""
    place = Place("MSH", 1, 18)
    codec = charsets.get(name)
    if codec is None:
        raise NotMapped([Fault(code=DATA_TYPE, place=place, text="this character set is not supported")])
    try:
        text = codecs.decode(raw, codec)
    except UnicodeDecodeError:
        what = "the message is not in this character set" if name else "name the character set: it is not UTF-8"
        raise NotMapped([Fault(code=DATA_TYPE, place=place, text=what)]) from None
    return Message(text.strip(), codec)


def _separators(header: str) -> Separators:
    field = header[3]
    encoding = header[4:].split(field)[0]
    component, repetition, escape, subcomponent = list(encoding + "^~\\&"[len(encoding) :])[:4]
    escape = escape.strip()
    if len({field, component, repetition, escape, subcomponent}) < 5 or field.isalnum():
        raise NotMapped(
            [Fault(code=DATA_TYPE, place=Place("MSH", 1, 2), text="the separators must be five characters")]
        )
    return Separators(field, component, repetition, escape, subcomponent)


def nth(text: str, separator: str, number: int) -> str:
    """The n-th part of a text, from 1; empty where there is none."""
    if number == 1:
        return text.partition(separator)[0]
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""
