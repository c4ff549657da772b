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
_colon = re.compile(rb"%s:%s" % (_SPACE, _SPACE)).match
_name = re.compile(rb'%s("(?:[^"\\]|\\.)*+")%s:%s' % ((_SPACE,) * 3)).match
_open = re.compile(rb"%s\{" % _SPACE).match
_close = re.compile(rb"%s\}%s\Z" % (_SPACE, _SPACE)).match
_comma = re.compile(rb"%s," % _SPACE).match
# msgspec drops a name given before: then there are fewer lengths than values, and they do not fit the text
_TWICE = "the same property is given twice in one object"


class _Meta(msgspec.Struct):
    meta: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


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
    place = None if _escaped(raw) else _meta_of_most(raw)
    if place is None:
        place = next(((start, end) for name, start, end in _members(raw) if name == "meta"), (0, 0))
    start, end = place
    if end:
        return raw[:start] + _in_meta(raw[start:end], new) + raw[end:]
    if found := _id_second(raw):
        return b'%s","meta":%s%s' % (raw[: found.end(1)], _in_meta(b"{}", new), raw[found.end() :])
    return _with(raw, {"meta": _in_meta(b"{}", new)}, after=("id", "resourceType"))


def with_version(raw: bytes, new_id: str, version_id: str, last_updated: str) -> bytes:
    """`with_meta` of `with_id`, in one go where the id is second and meta is plain: nearly always."""
    found = _id_second(raw)
    place = None if found is None or _escaped(raw) else _meta_of_most(raw)
    if found is None or place is None:
        return with_meta(with_id(raw, new_id), version_id, last_updated)
    new = {"versionId": _encode(version_id), "lastUpdated": _encode(last_updated)}
    start, end = place
    before, id_ = raw[: found.start(1)], new_id.encode()
    if not end:
        return b'%s%s","meta":%s%s' % (before, id_, _in_meta(b"{}", new), raw[found.end() :])
    return b"".join((before, id_, raw[found.end(1) : start], _in_meta(raw[start:end], new), raw[end:]))


def _escaped(raw: bytes) -> bool:
    """Whether a name may be written with escapes. One byte is looked for several times faster than two."""
    return b"\\" in raw and b"\\u" in raw


def _meta_of_most(raw: bytes) -> tuple[int, int] | None:
    """Where meta's value is, (0, 0) where there is none; None where the members have to be gone through to see it.

    Nothing in the bytes may be written with ``\\u``: it might be that name.
    """
    name = raw.find(b'"meta"')
    if name < 0:
        return 0, 0
    value = _decoded(_meta_of, raw).meta
    found = _colon(raw, name + len(b'"meta"'))
    if value is msgspec.UNSET or found is None or raw.find(b'"meta"', name + 1) > 0:
        return None
    return found.end(), found.end() + len(bytes(value))


def _in_meta(meta: bytes, new: dict[str, bytes]) -> bytes:
    if b'"versionId"' in meta or b'"lastUpdated"' in meta or b"\\" in meta:
        return _with(meta, new, after=())
    opened = _open(meta)
    assert opened, "an object was read, so it opens"
    rest = meta[opened.end() :]
    said = b'{"versionId":%s,"lastUpdated":%s' % (new["versionId"], new["lastUpdated"])
    return said + (b"" if rest.lstrip(b" \t\r\n")[:1] == b"}" else b",") + rest


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
