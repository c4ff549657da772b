"""The same events without zstd and seal: in plain JSON, and in plain Avro. For comparison only."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
import orjson
from fastavro import schemaless_reader, schemaless_writer

from bench.events import Event
from epicrisis.assembly import codec
from epicrisis.codec.envelope import Envelopes
from epicrisis.event import fields_of

_NO_KEY = bytes(16)
_envelopes = Envelopes(codec().catalogue.envelope)


def fields(event: Event) -> dict[str, Any]:
    """Everything that an event says, as JSON has it. The resource stays text, as ours stays bytes: nobody parses it."""
    meta, body = event
    told = {
        name: value if isinstance(value, str | int) else str(value)
        for name in fields_of(type(meta))
        if (value := getattr(meta, name)) is not None and name != "key"
    }
    facts = {name: getattr(body, name) for name in fields_of(type(body))}
    resource = facts.pop("resource", b"").decode()
    return {**told, "facts": msgspec.to_builtins(facts), "resource": resource}


def as_json(event: Event) -> bytes:
    """One JSON object."""
    return orjson.dumps(fields(event))


def as_avro(event: Event) -> bytes:
    """Our envelope with the body as plain Avro: no zstd, no seal."""
    meta, body = event
    shape = codec().catalogue.kinds[meta.type].shape
    raw = shape.write(shape.leaves(body))
    return _envelopes.write(meta, meta.id.bytes, meta.subject.bytes, _NO_KEY, raw)


def from_avro(value: bytes) -> Event:
    """The event again."""
    meta, raw = _envelopes.read(value)
    shape = codec().catalogue.kinds[meta.type].shape
    values, _ = shape.read(raw, 0)
    return Event(meta, shape.make(values))


def avro_fields(event: Event) -> dict[str, Any]:
    """The body as a library for Avro wants it."""
    values = {name: getattr(event.body, name) for name in fields_of(type(event.body))}
    return {name: value if isinstance(value, bytes) else msgspec.to_builtins(value) for name, value in values.items()}


def fastavro_write(event: Event, fields: dict[str, Any]) -> bytes:
    """The body alone, by fastavro, under its published schema."""
    out = BytesIO()
    schemaless_writer(out, codec().catalogue.writer(event.meta.type, event.meta.version).compiled, fields)
    return out.getvalue()


def fastavro_read(event: Event, raw: bytes) -> Any:
    """The fields of a body, by fastavro; ``event`` says which."""
    schema: Any = codec().catalogue.writer(event.meta.type, event.meta.version).compiled
    return schemaless_reader(BytesIO(raw), schema, None)
