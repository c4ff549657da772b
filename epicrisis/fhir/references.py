"""Find and replace references in the bytes of a resource; everything else stays as it was sent.

A decimal 1.10 stays 1.10: nothing is parsed and written again. The bytes are those of a resource that passed the gate.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

_NAME = b'"reference"'
_plain_value = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*"([^"\\]*)"').match
_any_value = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*+")').match
_tokens = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]]').finditer
_names_a_member = re.compile(rb"[ \t\r\n]*:").match
_decode = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

# Three R4 types have a `reference` that is a plain uri: DetectedIssue, Expression, Immunization.education. Where the
# text may hold one of them, or a name written with escapes, the exact search decides by what else the object has.
_DOUBTS = (b'"expression"', b'"education"', b'"DetectedIssue"')
_NOT_A_REFERENCE = frozenset(
    ("resourceType", "language", "expression", "documentType", "publicationDate", "presentationDate")
)

_Found = tuple[str, int, int]  # what a reference says, and where it stands between its quotes


def references(raw: bytes) -> list[str]:
    """All reference strings, in the order of the text, repeats included."""
    return [value for value, _, _ in _find(raw)]


def splice(raw: bytes, resolve: Callable[[str], str]) -> bytes:
    """The resource with each reference replaced by `resolve(reference)`; the same string leaves the bytes alone."""
    parts: list[bytes] = []
    position = 0
    for value, start, end in _find(raw):
        new = resolve(value)
        if new != value:
            parts.append(raw[position:start])
            parts.append(_encode(new)[1:-1])
            position = end
    if not position:
        return raw
    parts.append(raw[position:])
    return b"".join(parts)


def _find(raw: bytes) -> list[_Found]:
    if b"\\u" in raw or any(doubt in raw for doubt in _DOUBTS):
        return sorted(_find_exactly(raw), key=lambda found: found[1])
    return list(_find_fast(raw))


def _find_fast(raw: bytes) -> Iterator[_Found]:
    end = raw.find(_NAME)
    while end >= 0:
        start, end = end, end + len(_NAME)
        if raw[start - 1] != 0x5C:  # after a backslash the quote belongs to a longer string
            if found := _plain_value(raw, end):
                end = found.end()
                yield found[1].decode(), found.start(1), found.end(1)
            elif found := _any_value(raw, end):
                end = found.end()
                yield _decode(found[1]), found.start(1) + 1, found.end(1) - 1
        end = raw.find(_NAME, end)


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
                    here.found.append((_decode(value[1]), value.start(1) + 1, value.end(1) - 1))
