"""The look for what a decoder drops, or lets through, in silence: doubled names, empty objects, escaped controls.

Colons = members + colons in strings, in the text and in what was parsed: fewer in the latter, and a member was dropped
as a duplicate. Sound while every string stays `str`; a colon written as an escape needs the exact look.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from . import exact
from .rules import Fault, guarded

# escapes that could hide a control character or a colon: the exact look decides
_risky = re.compile(rb"\\u(?:00[01]|003[aA])").search
_empty = re.compile(rb"\{\}").search  # half the cost of `in` for so short a needle
(_BACKSLASH,) = b"\\"  # as a number: `in` finds it in a fifth of the time
_BLOCK = 64
_encode_into = msgspec.json.Encoder().encode_into


class Dropped:
    """For one gate, and one thread at a time: it owns a scratch buffer."""

    def __init__(self) -> None:
        self._scratch = bytearray()

    def check(self, parsed: Any, raw: bytes) -> None:
        """Raise `Fault` where something was dropped from ``raw``, or let through, when it became ``parsed``."""
        scratch = self._scratch
        _encode_into(parsed, scratch)
        missing = raw.count(b":") - scratch.count(b":")
        if missing > 0:
            raise Fault("duplicate")
        if missing or _empty(scratch) or (_BACKSLASH in raw and _risky(raw)):
            exact.check(raw)

    def check_resource(self, parsed: Any, raw: bytes, decode: Callable[[bytes], Any]) -> None:
        """`check`, with the place in a contained resource; ``decode`` is what made the Struct."""
        try:
            self.check(parsed, raw)
        except Fault:
            contained = getattr(parsed, "contained", UNSET)
            if contained is not UNSET:
                parts = [bytes(part) for part in guarded(decode, raw).contained]
                for index in suspects(contained, parts):
                    try:
                        self.check(contained[index], parts[index])
                    except Fault as fault:
                        raise fault.below(f".contained[{index}]") from None
            raise


def nothing(raw: bytes, *parsed: Any) -> bool:
    """Whether surely nothing was dropped, of several parts at once; where this is False, each has to be looked at."""
    # an escape may be a colon: missing ones and others might add up to nothing
    if _BACKSLASH in raw and b"\\u" in raw:
        return False
    colons = 0
    for some in parsed:
        text = bytearray()
        _encode_into(some, text)
        if _empty(text):
            return False
        colons += text.count(b":")
    return raw.count(b":") == colons


def suspects(parsed: Sequence[Any], raw: Sequence[bytes]) -> Iterator[int]:
    """Which of many parts have to be looked at one by one, by their index."""
    for start in range(0, len(raw), _BLOCK):
        end = start + _BLOCK
        if not nothing(b"".join(raw[start:end]), parsed[start:end]):
            yield from range(start, min(end, len(raw)))


def without(raw: bytes, parts: Sequence[bytes]) -> bytes:
    """A text with a number in the place of each of these parts, which it has in this order."""
    between, position = [], 0
    for part in parts:
        start = _find(raw, part, position)
        between.append(raw[position:start])
        position = start + len(part)
    return b"0".join([*between, raw[position:]])


def _find(raw: bytes, part: bytes, position: int) -> int:
    """Where `part`, known to be there, starts. Searched by a short needle: a long one costs more to prepare."""
    needle = part[:32]
    start = raw.find(needle, position)
    while not raw.startswith(part, start):
        start = raw.find(needle, start + 1)
    return start
