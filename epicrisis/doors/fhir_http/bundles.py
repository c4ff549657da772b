"""Bundles of what was read, put together from bytes: nothing in a resource is written anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec

from epicrisis.fhir.outcome import Problem, outcome
from epicrisis.fhir.splice import with_version
from epicrisis.fhir.values import instant_text

_text = msgspec.json.Encoder().encode
_when = lru_cache(maxsize=4096)(instant_text)  # what came in one message was recorded at one time


def shown(raw: bytes, resource_id: str, version: int, recorded: datetime) -> bytes:
    """A resource as it leaves: the bytes that were sent, with the cluster's id and this version's meta."""
    return with_version(raw, resource_id, str(version), _when(recorded))


def match(base: str, resource_type: str, resource_id: str, resource: bytes, mode: str = "match") -> bytes:
    """An entry of a search's answer."""
    return b'{"fullUrl":"%s/%s/%s","resource":%s,"search":{"mode":"%s"}}' % (
        base.encode(),
        resource_type.encode(),
        resource_id.encode(),
        resource,
        mode.encode(),
    )


def told(problems: Sequence[Problem]) -> bytes:
    """An entry that says what about the answer is not as it was asked for, or may lack something."""
    return b'{"resource":%s,"search":{"mode":"outcome"}}' % outcome(problems)


def version(
    base: str, resource_type: str, resource_id: str, number: int, recorded: datetime, resource: bytes | None
) -> bytes:
    """An entry of a history; without ``resource`` it was deleted then."""
    url = f"{resource_type}/{resource_id}".encode()
    status = b"204" if resource is None else b"201" if number == 1 else b"200"
    return b'{"fullUrl":"%s/%s",%s"request":{"method":"%s","url":"%s"},"response":{%s}}' % (
        base.encode(),
        url,
        b"" if resource is None else b'"resource":%s,' % resource,
        b"DELETE" if resource is None else b"PUT",
        url,
        b'"status":"%s","etag":"W/\\"%d\\"","lastModified":"%s"' % (status, number, instant_text(recorded).encode()),
    )


def bundle(kind: str, entries: Iterable[bytes], links: Sequence[tuple[str, str]], total: int | None) -> bytes:
    """A Bundle; ``links`` are (relation, url)."""
    parts = [b'{"resourceType":"Bundle","type":"%s"' % kind.encode()]
    if total is not None:
        parts.append(b',"total":%d' % total)
    if links:
        said = b",".join(b'{"relation":"%s","url":%s}' % (name.encode(), _text(url)) for name, url in links)
        parts.append(b',"link":[%s]' % said)
    before = b',"entry":['
    for entry in entries:  # joined once: it may be megabytes
        parts += before, entry
        before = b","
    parts.append(b"}" if before != b"," else b"]}")
    return b"".join(parts)
