"""The file: a ZIP in one exact form. Stored, not compressed; fixed names, order and dates; nothing before or behind.

So there is nothing to unpack, no path to follow, no second file of the same name, and no byte that means nothing: what
is read is written again, and must be the same.
"""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Mapping
from typing import Any

from .merkle import Wrong

NAMES = (
    "index.html",
    "history.json",
    "events.ndjson",
    "head.txt",
    "checkpoint.txt",
    "partition.txt",
    "keys.txt",
    "policy.txt",
    "schemas.json",
)
"""Every file of a bundle, in order; ``partition.txt`` is empty where there are no events."""
MAX_BYTES = 1 << 28
NOT_A_BUNDLE = "not a valid bundle"
_DATE = (0, 0x21)  # 1980-01-01, midnight
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _UTF8, _STORED = 20, 0x0800, 0


def write(files: Mapping[str, bytes]) -> bytes:
    """The bundle with these files, all of `NAMES`."""
    body, directory = bytearray(), bytearray()
    for name in NAMES:
        raw, encoded, at = files[name], name.encode(), len(body)
        about = (_VERSION, _UTF8, _STORED, *_DATE, binascii.crc32(raw), len(raw), len(raw), len(encoded), 0)
        body += _LOCAL.pack(b"PK\3\4", *about) + encoded + raw
        directory += _CENTRAL.pack(b"PK\1\2", _VERSION, *about, 0, 0, 0, 0, at) + encoded
    end = _END.pack(b"PK\5\6", 0, 0, len(NAMES), len(NAMES), len(directory), len(body), 0)
    return bytes(body + directory + end)


def read(raw: bytes) -> dict[str, bytes]:
    """The files of a bundle by name.

    Raises
    ------
    Wrong
        It is not a bundle, to the byte.
    """
    files: dict[str, bytes] = {}
    at = 0
    if len(raw) > MAX_BYTES:
        raise Wrong(f"{NOT_A_BUNDLE}: it is too large")
    for name in NAMES:
        start = at + _LOCAL.size + len(name)
        try:
            size = _LOCAL.unpack_from(raw, at)[8]
        except struct.error:
            size = len(raw)
        if start + size > len(raw):
            raise Wrong(f"{NOT_A_BUNDLE}: it ends within {name}, or is another file")
        files[name] = raw[start : start + size]
        at = start + size
    if write(files) != raw:
        raise Wrong(f"{NOT_A_BUNDLE}: it is not in the form in which bundles are written")
    return files


def text(raw: bytes) -> str:
    """UTF-8.

    Raises
    ------
    Wrong
        It is not.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Wrong("a text is not UTF-8") from None


def dumped(value: Any) -> str:
    """JSON in its one form here: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def loaded(line: str) -> Any:
    """JSON, if it is in that form.

    Raises
    ------
    Wrong
        It is not, or nested without end.
    """
    try:
        if line.count("[") + line.count("{") > 100:
            raise Wrong("JSON is nested more deeply than any of a bundle")
        value = json.loads(line, parse_constant=_refused, parse_float=_refused)
        same = dumped(value) == line
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise Wrong("JSON is not in the form in which bundles are written")
    return value


def _refused(_: str) -> None:
    raise ValueError
