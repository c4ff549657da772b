"""Layout: a resource is kept without its indentation and without the ids that the envelope says already.

The bytes come back exactly: only what is proven to is packed. Indentation (2 or 4 blanks a level, at whatever depth the
resource was cut out of a Bundle) is a third to a half of what many senders send; the subject's and the resource's own
UUIDs are in nearly every resource, and random digits do not compress.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.json import format as reformat

COMPACT = 0
VERBATIM = 255
UNITS = {2: 1, 4: 128}
"""The blanks a level of what can be indented again, and the layouts of what begins at the first level."""
_DEPTH = 126
_MARKS = (b"\x00", b"\x01")
"""What stands for the texts that are known: control characters, which no JSON text has."""


class Unindented(bytes):
    """A resource without its indentation, which is proven to come back: ``layout`` says how."""

    layout: int

    @classmethod
    def of(cls, compact: bytes, layout: int) -> Unindented:
        made = cls(compact)
        made.layout = layout
        return made


def unindent(raw: bytes) -> tuple[bytes, int]:
    """A whole text without its indentation, and the blanks a level of it; as it is, and 0, where that is not proven to
    come back.
    """
    head = raw[2:10]
    unit = len(head) - len(head.lstrip(b" "))
    if not raw.startswith(b"{\n") or unit not in UNITS:
        return raw, 0
    try:
        compact = reformat(raw, indent=-1)
        same = reformat(compact, indent=unit) == raw
    except (ValueError, RecursionError):
        return raw, 0
    return (compact, unit) if same else (raw, 0)


def reindent(compact: bytes, unit: int) -> bytes:
    """The text that `unindent` took this from."""
    whole: bytes = reformat(compact, indent=unit)
    return whole


def unindented(raw: bytes) -> bytes:
    """A resource as deciders compare it: without its indentation, where that is proven to come back."""
    if isinstance(raw, Unindented):
        return raw
    compact, layout = _compact(raw)
    return raw if layout == COMPACT else Unindented.of(compact, layout)


def layout_at(unit: int, level: int) -> int:
    """The layout of what stands at this level of a text that is indented by so many blanks a level."""
    return UNITS[unit] + unit * level


def pack(raw: bytes, known: Sequence[bytes]) -> tuple[bytes, int]:
    """The bytes to keep, and their layout, a byte. ``known``: up to two texts that `unpack` will be given again."""
    if b"\x00" in raw or b"\x01" in raw:
        return raw, VERBATIM
    kept = unindented(raw)
    layout = kept.layout if isinstance(kept, Unindented) else COMPACT
    for mark, text in zip(_MARKS, known, strict=False):
        kept = kept.replace(text, mark)
    return kept, layout


def unpack(kept: bytes, layout: int, known: Sequence[bytes]) -> bytes:
    """The bytes as they were sent."""
    if layout == VERBATIM:
        return kept
    for mark, text in zip(_MARKS, known, strict=False):
        kept = kept.replace(mark, text)
    return _indented(kept, layout) if layout != COMPACT else kept


def _compact(raw: bytes) -> tuple[bytes, int]:
    if not raw.startswith(b"{\n"):
        return raw, COMPACT
    base = len(raw) - raw.rfind(b"\n") - 2
    head = raw[2 : 2 + _DEPTH + 8]
    unit = len(head) - len(head.lstrip(b" ")) - base
    if unit not in UNITS or not 0 <= base <= _DEPTH:
        return raw, COMPACT
    layout = UNITS[unit] + base
    try:
        compact = reformat(raw, indent=-1)
    except ValueError:
        return raw, COMPACT
    return (compact, layout) if _indented(compact, layout) == raw else (raw, COMPACT)


def _indented(compact: bytes, layout: int) -> bytes:
    unit, start = (4, UNITS[4]) if layout >= UNITS[4] else (2, UNITS[2])
    indented: bytes = reformat(compact, indent=unit)
    base = layout - start
    return indented.replace(b"\n", b"\n" + b" " * base) if base else indented
