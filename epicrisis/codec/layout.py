"""Layout: an indented resource is kept compact, with a byte that says how it was indented; the bytes come back exactly.

Indentation is a third to a half of what many senders send. Only what is proven to come back byte for byte is packed:
indented by 2 or 4 blanks a level, as most libraries write it, at whatever depth it was cut out of a Bundle.
"""

from __future__ import annotations

from msgspec.json import format as reformat

AS_SENT = 0
_UNITS = {2: 1, 4: 128}
_DEPTH = 126


def pack(raw: bytes) -> tuple[bytes, int]:
    """The bytes to keep, and their layout (0..255; 0: as they are)."""
    if not raw.startswith(b"{\n"):
        return raw, AS_SENT
    base = len(raw) - raw.rfind(b"\n") - 2
    head = raw[2 : 2 + _DEPTH + 8]
    unit = len(head) - len(head.lstrip(b" ")) - base
    if unit not in _UNITS or not 0 <= base <= _DEPTH:
        return raw, AS_SENT
    layout = _UNITS[unit] + base
    try:
        compact = reformat(raw, indent=-1)
    except ValueError:
        return raw, AS_SENT
    return (compact, layout) if unpack(compact, layout) == raw else (raw, AS_SENT)


def unpack(kept: bytes, layout: int) -> bytes:
    """The bytes as they were sent."""
    if layout == AS_SENT:
        return kept
    unit, start = (4, _UNITS[4]) if layout >= _UNITS[4] else (2, _UNITS[2])
    indented: bytes = reformat(kept, indent=unit)
    base = layout - start
    return indented.replace(b"\n", b"\n" + b" " * base) if base else indented
