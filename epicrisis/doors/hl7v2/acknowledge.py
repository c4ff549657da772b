"""Acknowledgements: MSH, MSA and an ERR segment for each thing that is wrong (chapter 2.9 and 2.15 of the standard).

One message, one answer. MSH-15 and MSH-16 (enhanced mode) choose its kind: where the sender asks for accept
acknowledgements and for no application acknowledgement it is CA, CE or CR, else AA, AE or AR. Two answers are never
sent, and one always is: without it nobody knows that a message has arrived.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, TypeAlias

from msgspec import Struct

from epicrisis.doors.hl7v2.errors import CONDITIONS, Fault, Place

Code: TypeAlias = Literal["AA", "AE", "AR"]

_LATIN = "latin-1"
_HEADER = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(MSH|BHS|FHS)([^\w\s])([^\r\n]*)").match
_ASKED = frozenset(("AL", "ER", "SU"))
_MODERN = re.compile(r"2\.([5-9]|\d\d)").match


class Header(Struct, frozen=True):
    """MSH (or BHS, FHS) as it was sent, byte for byte in Latin-1: an answer must not depend on the character set."""

    fields: tuple[str, ...]
    sent: bool = True
    """Whether there was one."""

    @classmethod
    def of(cls, raw: bytes) -> Header:
        """The header of a message; of what is none, an empty one."""
        found = _HEADER(raw[:8192])
        if found is None:
            return cls(("MSH", "|", "^~\\&"), sent=False)
        separator = found[2].decode(_LATIN)
        return cls((found[1].decode(), separator, *found[3].decode(_LATIN).split(separator)))

    def field(self, number: int) -> str:
        """A field as it was sent."""
        return self.fields[number] if number < len(self.fields) else ""

    def first(self, number: int, component: int = 1) -> str:
        """A component of a field."""
        encoding = self.field(2) + "^~"[len(self.field(2)) :]
        parts = self.field(number).split(encoding[1])[0].split(encoding[0])
        return parts[component - 1].strip() if component <= len(parts) else ""

    def text(self, number: int) -> str:
        """The first component of a field as text, whichever of the usual character sets it is in."""
        raw = self.first(number).encode(_LATIN)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode(_LATIN)

    @property
    def name(self) -> str | None:
        """What the sender calls the message: MSH-3, MSH-4 and MSH-10; None where it gives it no control id."""
        control = self.field(10).strip()
        return "|".join((self.first(3), self.first(4), control)) if control else None


def acknowledgement(header: Header, code: Code, at: str, faults: Sequence[Fault] = (), text: str = "") -> bytes:
    """The answer to a message, its segments ended by CR. ``at``: when the message came, as YYYYMMDDHHMMSS+ZZZZ."""
    bar = header.field(1) or "|"
    encoding = header.field(2) or "^~\\&"
    component = encoding[0]
    event = header.first(9, 2)
    kind = component.join(("ACK", event, "ACK")) if event else "ACK"
    control = sha256("|".join((header.name or "", at)).encode(_LATIN, "replace")).hexdigest()[:20].upper()
    version = header.field(12) or "2.5.1"
    msh = ["MSH" + bar + encoding, *(header.field(n) for n in (5, 6, 3, 4)), at, "", kind, control]
    msh += [header.field(11) or "P", version, "", "", "", "", "", header.field(18)]
    msa = ["MSA", _kind(header, code), header.field(10)]
    if text:
        msa.append(_plain(text, header))
    lines = [bar.join(msh).rstrip(bar), bar.join(msa)]
    modern = _MODERN(version) is not None
    lines += [_err(fault, header, modern) for fault in faults]
    return ("\r".join(lines) + "\r").encode(_LATIN, "replace")


def batch_of(answers: Sequence[bytes], file: Header | None, batch: Header | None) -> bytes:
    """The answers to a batch, as a batch that names it (BHS-12, FHS-12)."""
    model = batch or file
    bar = model.field(1) if model else "|"
    lines: list[bytes] = []
    if file is not None:
        lines.append(_head("FHS", file))
    lines.append(_head("BHS", batch or Header(("BHS", bar, "^~\\&"))))
    body = b"\r".join(lines) + b"\r" + b"".join(answers) + f"BTS{bar}{len(answers)}\r".encode(_LATIN)
    return body + (f"FTS{bar}1\r".encode(_LATIN) if file is not None else b"")


def _head(name: str, asked: Header) -> bytes:
    bar = asked.field(1)
    fields = [name + bar + asked.field(2), *(asked.field(n) for n in (5, 6, 3, 4)), "", "", "", "", "", asked.field(11)]
    return bar.join(fields).rstrip(bar).encode(_LATIN)


def _kind(header: Header, code: Code) -> str:
    accept, application = header.field(15).strip(), header.field(16).strip()
    return f"C{code[1]}" if accept in _ASKED and application == "NE" else code


def _err(fault: Fault, header: Header, modern: bool) -> str:
    bar, component = header.field(1), header.field(2)[:1] or "^"
    place = _location(fault.place, component)
    condition = component.join((fault.code, CONDITIONS.get(fault.code, ""), "HL70357"))
    if not modern:  # to v2.4, ERR-1 alone: segment, sequence, field, condition
        sub = header.field(2)[3:4] or "&"
        at = (fault.place.segment, str(fault.place.sequence), str(fault.place.field or ""))
        return bar.join(("ERR", component.join((*at, condition.replace(component, sub)))))
    return bar.join(("ERR", "", place, condition, fault.severity, "", "", "", _plain(fault.text, header)))


def _location(place: Place, component: str) -> str:
    if not place.segment:
        return ""
    numbers = (place.sequence, place.field, place.repetition or (1 if place.component else 0))
    parts = [place.segment, *(str(n or "") for n in (*numbers, place.component, place.subcomponent))]
    return component.join(parts).rstrip(component)


def _plain(text: str, header: Header) -> str:
    """A text of our own without characters that mean something here."""
    reserved = set(header.field(1) + header.field(2)[:4])
    return "".join(" " if char in reserved or ord(char) < 32 or ord(char) > 126 else char for char in text)[:250]
