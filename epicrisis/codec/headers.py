"""Record headers: CloudEvents 1.0, binary mode of its Kafka binding. No name, number or clinical word is in them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from epicrisis.codec.writing import binary, long, text
from epicrisis.event import Meta

Headers = list[tuple[str, bytes]]

_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/avro")


def headers(meta: Meta) -> Headers:
    """The headers of an event's record."""
    return [
        _SPECVERSION,
        ("ce_id", str(meta.id).encode()),
        ("ce_type", meta.type.encode()),
        ("ce_source", meta.source.encode()),
        ("ce_time", _time(meta.recorded)),
        _CONTENT_TYPE,
    ]


def written_headers(id: UUID, type: str, source: str, recorded: datetime) -> bytes:
    """The same of a journal's columns, as they stand in a record (KIP-82). ``recorded`` is aware, in any zone."""
    return b"".join((_FIRST, str(id).encode(), _same(type, source), binary(_time(recorded)), _LAST))


def _time(recorded: datetime) -> bytes:
    time = recorded if recorded.tzinfo is UTC else recorded.astimezone(UTC)
    return time.isoformat()[:-6].encode() + b"Z"


def _written(name: str, value: bytes) -> bytes:
    return text(name) + binary(value)


@lru_cache(maxsize=1024)
def _same(type: str, source: str) -> bytes:
    return _written("ce_type", type.encode()) + _written("ce_source", source.encode()) + text("ce_time")


_FIRST = long(6) + _written(*_SPECVERSION) + text("ce_id") + long(len(str(UUID(int=0))))
_LAST = _written(*_CONTENT_TYPE)
