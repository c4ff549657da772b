"""The codec against plain JSON (orjson) and plain Avro: microseconds of processor time, and bytes, per event.

Ours writes Avro, compresses with a shipped dictionary, seals (AES-256-GCM, a key per subject, bound to the event) and
writes the envelope; read back, that is all undone and gives a typed object. orjson makes text of dicts and dicts of
text, fastavro a body (no envelope) of a dict and back; making those dicts, or objects of them, is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from bench.events import Event, events, keys_for
from bench.plain import avro_fields, fastavro_read, fastavro_write, fields
from bench.row import Row, named, versus
from epicrisis.assembly import codec
from epicrisis.codec import DataKey, MemoryKeyStore

EVENTS, TURNS = 8_000, 5
UNIT = "µs/event"


def run(short: bool = False) -> Iterator[Row]:
    """Rows: write, read, read facts alone, bytes; against JSON, and against Avro."""
    some = list(events(100 if short else EVENTS))
    keys = keys_for(some, MemoryKeyStore())
    sealed = [_write(event, keys) for event in some]
    dicts = [fields(event) for event in some]
    texts = [orjson.dumps(one) for one in dicts]
    pairs = [(event, avro_fields(event)) for event in some]
    avro = [(event, fastavro_write(event, values)) for event, values in pairs]
    by_id = {key.id: key for key in keys.values()}

    def read(value: bytes, facts: bool = False) -> object:
        opened = codec().open(value)
        assert opened.meta.key is not None
        return codec().unseal(opened, by_id[opened.meta.key], facts=facts)

    assert [read(value) for value in sealed] == [event.body for event in some]
    work: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
        "write": (lambda event: _write(event, keys), some),
        "read": (read, sealed),
        "facts": (lambda value: read(value, facts=True), sealed),
        "write JSON": (orjson.dumps, dicts),
        "read JSON": (orjson.loads, texts),
        "write Avro": (lambda pair: fastavro_write(*pair), pairs),
        "read Avro": (lambda pair: fastavro_read(*pair), avro),
    }
    took = dict.fromkeys(work, float("inf"))
    for _ in range(2 if short else TURNS):  # by turns: what else the machine does hits all
        for name, (step, items) in work.items():
            took[name] = min(took[name], _microseconds(step, items))
    json, plain = f"plain JSON, {named('orjson')}", f"plain Avro, body alone, {named('fastavro')}"
    note = f"{len(some):,} events, best of turns"
    yield versus("write, sealed", took["write"], UNIT, json, took["write JSON"], note=note)
    yield versus("write, sealed", took["write"], UNIT, plain, took["write Avro"])
    yield versus("read, sealed", took["read"], UNIT, json, took["read JSON"])
    yield versus("read, sealed", took["read"], UNIT, plain, took["read Avro"])
    yield versus(
        "read, sealed, facts alone", took["facts"], UNIT, json, took["read JSON"], note="what read models take"
    )
    size = {"sealed": sealed, "JSON": texts, "Avro": [raw for _, raw in avro]}
    each = {name: sum(map(len, values)) / len(values) for name, values in size.items()}
    yield versus("size, sealed", each["sealed"], "bytes/event", json, each["JSON"])
    yield versus("size, sealed", each["sealed"], "bytes/event", plain, each["Avro"])


def _write(event: Event, keys: dict[Any, DataKey]) -> bytes:
    return codec().encode(event.meta, event.body, keys[event.meta.subject])


def _microseconds(step: Callable[[Any], object], items: Sequence[Any]) -> float:
    began = time.process_time()
    for item in items:
        step(item)
    return (time.process_time() - began) / len(items) * 1e6
