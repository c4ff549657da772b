"""Record headers: CloudEvents 1.0, binary mode of its Kafka binding. No name, number or clinical word is in them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from epicrisis.event import Meta

Headers = list[tuple[str, bytes]]

_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/avro")


def headers(meta: Meta) -> Headers:
    """The headers of an event's record."""
    return headers_of(meta.id, meta.type, meta.source, meta.recorded)


def headers_of(id: UUID, type: str, source: str, recorded: datetime) -> Headers:
    """The same of a journal's columns. ``recorded`` is aware, in any zone; ``ce_time`` is UTC."""
    time = recorded if recorded.tzinfo is UTC else recorded.astimezone(UTC)
    return [
        _SPECVERSION,
        ("ce_id", str(id).encode()),
        *_same(type, source),
        ("ce_time", time.isoformat()[:-6].encode() + b"Z"),
        _CONTENT_TYPE,
    ]


@lru_cache(maxsize=1024)
def _same(type: str, source: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return ("ce_type", type.encode()), ("ce_source", source.encode())
