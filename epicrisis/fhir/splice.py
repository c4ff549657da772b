"""Put the server's id and meta into the bytes of a resource; everything else stays as it was sent."""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from ..errors import Malformed

T = TypeVar("T")

_SPACE = rb"[ \t\r\n]*"
_id_second = re.compile(
    rb'\A%s\{%s"resourceType"%s:%s"\w+"%s,%s"id"%s:%s"([^"\\]*)"' % ((_SPACE,) * 8)  # as nearly everybody writes it
).match
_meta_third = re.compile(
    rb'\A%s\{%s"resourceType"%s:%s"\w+"%s,%s"id"%s:%s"[^"\\]*"%s,%s"meta"%s:%s' % ((_SPACE,) * 12)
).match
_name = re.compile(rb'%s("(?:[^"\\]|\\.)*+")%s:%s' % ((_SPACE,) * 3)).match
_open = re.compile(rb"%s\{" % _SPACE).match
_close = re.compile(rb"%s\}%s\Z" % (_SPACE, _SPACE)).match
_comma = re.compile(rb"%s," % _SPACE).match
# msgspec drops a name given before: then there are fewer lengths than values, and they do not fit the text
_TWICE = "the same property is given twice in one object"


class _Meta(msgspec.Struct):
    meta: msgspec.Raw


_meta_of = msgspec.json.Decoder(_Meta).decode
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def with_id(raw: bytes, new_id: str) -> bytes:
    """The resource with this id: in the place of its own, or behind `resourceType` where it has none."""
    if found := _id_second(raw):
        return raw[: found.start(1)] + new_id.encode() + raw[found.end(1) :]
    return _with(raw, {"id": _encode(new_id)}, after=("resourceType",))


def with_meta(raw: bytes, version_id: str, last_updated: str) -> bytes:
    """The resource with meta.versionId and meta.lastUpdated (a FHIR instant); profiles, tags and the rest stay."""
    new = {"versionId": _encode(version_id), "lastUpdated": _encode(last_updated)}
    if found := _meta_third(raw):
        start = found.end()
        end = start + len(bytes(_decoded(_meta_of, raw).meta))
        return raw[:start] + _with(raw[start:end], new, after=()) + raw[end:]
    for name, start, end in _members(raw):
        if name == "meta":
            return raw[:start] + _with(raw[start:end], new, after=()) + raw[end:]
    return _with(raw, {"meta": _with(b"{}", new, after=())}, after=("id", "resourceType"))


def _with(raw: bytes, new: dict[str, bytes], after: tuple[str, ...]) -> bytes:
    """The object with these members set; new ones go behind the first of `after` that is there, else to the front."""
    members = {name: (start, end) for name, start, end in _members(raw)}
    missing = b",".join(_encode(name) + b":" + value for name, value in new.items() if name not in members)
    edits = [(*members[name], value) for name, value in new.items() if name in members]
    if missing:
        anchor = next((members[name][1] for name in after if name in members), None)
        if anchor is not None:
            edits.append((anchor, anchor, b"," + missing))
        else:
            opened = _open(raw)
            assert opened, "an object was read, so it opens"
            edits.append((opened.end(), opened.end(), missing + (b"," if members else b"")))
    for start, end, value in sorted(edits, reverse=True):
        raw = raw[:start] + value + raw[end:]
    return raw


def _members(raw: bytes) -> Iterator[tuple[str, int, int]]:
    """The members of the object itself: name, start and end of the value. msgspec skips over the values in C."""
    lengths = [len(bytes(value)) for value in _decoded(_raw_members, raw).values()]
    opened = _open(raw)
    position = opened.end() if opened else 0
    for index, length in enumerate(lengths):
        if index:
            comma = _comma(raw, position)
            position = comma.end() if comma else len(raw)
        name = _name(raw, position)
        if name is None:
            raise Malformed(_TWICE)
        position = name.end() + length
        yield _decode(name[1]), name.end(), position
    if lengths and not _close(raw, position):
        raise Malformed(_TWICE)


def _decoded(decode: Callable[[bytes], T], raw: bytes) -> T:
    try:
        return decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Malformed("this is not a well-formed JSON object") from None
