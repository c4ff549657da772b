"""Find and replace references in the bytes of a resource; everything else stays as it was sent.

A decimal 1.10 stays 1.10: nothing is parsed and written again. The bytes are those of a resource that passed the gate.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

_any_value = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*+")').match
_tokens = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]]').finditer
_names_a_member = re.compile(rb"[ \t\r\n]*:").match
_decode = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

# Three R4 types have a `reference` that is a plain uri: DetectedIssue, Expression, Immunization.education. Where the
# text may hold one of them, the exact search decides by what else the object has. (Needles that end in a rare letter:
# bytes.find skips by the last one.)
_DOUBTS = (b'"expression', b'"educat', b"DetectedIs")
_NOT_A_REFERENCE = frozenset(
    ("resourceType", "language", "expression", "documentType", "publicationDate", "presentationDate")
)
# a backslash matters in a name, before a quote that looks like ours, or in a reference
_tricky = re.compile(rb'\\u|\\"reference"|"reference"[ \t\r\n]*:[ \t\r\n]*"[^"\\]*\\').search

_Found = tuple[int, int]  # where a reference stands between its quotes
_split = re.compile(rb'("reference"[ \t\r\n]*:[ \t\r\n]*")([^"\\]*)').split

VALUES = slice(2, None, 3)
"""Where the references stand in what `cut` returns."""


def cut(raw: bytes) -> list[bytes]:
    """The bytes of a resource, cut around its references: joined again they are the resource.

    The references stand at `VALUES`, as they are written in JSON: `text_of` reads one.
    """
    expression, education, issue = _DOUBTS
    if issue in raw or expression in raw or education in raw or (b"\\" in raw and _tricky(raw)):
        return _cut_exactly(raw)
    return _split(raw)


def text_of(value: bytes) -> str:
    """What a reference says that is written in JSON like this, between its quotes."""
    return _decode(b'"' + value + b'"') if b"\\" in value else value.decode()


def written(text: str) -> bytes:
    """A reference as it stands in JSON, between its quotes."""
    return _encode(text)[1:-1]


def references(raw: bytes) -> list[str]:
    """All reference strings, in the order of the text, repeats included."""
    return [text_of(value) for value in cut(raw)[VALUES]]


def place_of(raw: bytes, reference: str) -> str:
    """Where in a resource a reference stands first: ``.performer[0]``. For messages alone: it reads all of it."""
    return next(_places(msgspec.json.decode(raw), reference), "")


def _places(value: Any, reference: str, path: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from _places(one, reference, f"{path}[{index}]")
    elif isinstance(value, dict):
        if value.get("reference") == reference:
            yield path
        for name, one in value.items():
            yield from _places(one, reference, f"{path}.{name}")


def splice(raw: bytes, resolve: Callable[[str], str]) -> bytes:
    """The resource with each reference replaced by `resolve(reference)`; the same string leaves the bytes alone."""
    parts = cut(raw)
    for index in range(2, len(parts), 3):
        value = text_of(parts[index])
        if (new := resolve(value)) != value:
            parts[index] = written(new)
    return b"".join(parts)


def _cut_exactly(raw: bytes) -> list[bytes]:
    parts: list[bytes] = []
    position = 0
    for start, end in sorted(_find_exactly(raw)):
        parts += [raw[position:start], b"", raw[start:end]]
        position = end
    return [*parts, raw[position:]]


class _Open:
    """An object or array that is being read: the member it stands under, its own members, references seen in it."""

    def __init__(self, under: str) -> None:
        self.under, self.member = under, under
        self.members: set[str] = set()
        self.found: list[_Found] = []

    def references(self) -> list[_Found]:
        return [] if self.under == "education" or self.members & _NOT_A_REFERENCE else self.found


def _find_exactly(raw: bytes) -> Iterator[_Found]:
    """String by string, with the objects around: ten times as slow."""
    stack = [_Open("")]
    for token in _tokens(raw):
        match token[0]:
            case b"{" | b"[":
                stack.append(_Open(stack[-1].member))
            case b"}" | b"]":
                if len(stack) > 1:
                    yield from stack.pop().references()
            case text if _names_a_member(raw, token.end()):
                here = stack[-1]
                here.member = _decode(text)
                here.members.add(here.member)
                if here.member == "reference" and (value := _any_value(raw, token.end())):
                    here.found.append((value.start(1) + 1, value.end(1) - 1))
