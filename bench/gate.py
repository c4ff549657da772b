"""The gate against fhir.resources: every resource of the public Synthea data, or of the simulation.

CPU time, because machines are shared; the ratio is what counts. Every resource goes through the gate's whole check,
duplicate keys refused; fhir.resources, being slow, gets each n-th of the same stream. fhir.resources checks less.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from bench.adversarial import inputs
from bench.bundles import FOLDERS, bundles
from bench.row import Row, named, versus
from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.references import references, splice
from epicrisis.fhir.splice import with_version

RESOURCES = 8_000
EVERY = 8  # fhir.resources takes each eighth
TURNS = 3
TIMES = 15.0
MEGABYTE = 1_000_000


def run(short: bool = False) -> Iterator[Row]:
    """Rows: µs per resource, as sent and compact, and of the steps that intake adds."""
    gate, peer, turns = Gate(), named("fhir.resources"), 1 if short else TURNS
    some = bundles(40 if short else RESOURCES, *FOLDERS[1:])
    sent = [entry.raw for one in some for entry in gate.check(one.raw).entries if entry.raw is not None]
    compact = [msgspec.json.encode(msgspec.json.decode(raw)) for raw in sent]
    for raw in sent[::EVERY]:  # warm: the models are made on first use
        _fhir_resources(raw)
    for name, stream in (("as sent", sent), ("compact", compact)):
        pairs = [  # by turns: what else the machine does hits both
            (_microseconds(gate.check, stream), _microseconds(_fhir_resources, stream[::EVERY])) for _ in range(turns)
        ]
        ours, theirs = min(o for o, _ in pairs), min(t for _, t in pairs)
        note = f"{len(stream)} resources, {sum(map(len, stream)) / len(stream):,.0f} bytes each; processor time"
        yield versus(f"gate, {name}", ours, "µs/resource", peer, theirs, times_goal=TIMES, note=note)
    yield _refusals(10_000 if short else MEGABYTE)
    steps: dict[str, Callable[[bytes], object]] = {
        "parse alone": msgspec.json.decode,
        "find references": references,
        "splice references": lambda raw: splice(raw, lambda _: "Patient/1"),
        "splice id and meta": lambda raw: with_version(raw, "a", "1", "2024-01-01T00:00:00Z"),
    }
    for name, step in steps.items():
        yield {"row": name, "value": _microseconds(step, compact), "unit": "µs/resource", "note": "compact"}


def _refusals(size: int) -> Row:
    """How long a megabyte of what is made to be costly takes until it is refused, and what it takes of memory."""
    gate, times, memory = Gate(), [], 0.0
    for _, raw in inputs(size):
        times.append(min(_refused(gate, raw) for _ in range(TURNS)) * 1e3)
    for _, raw in inputs(size // 10):
        tracemalloc.start()
        _refused(gate, raw)
        memory = max(memory, tracemalloc.get_traced_memory()[1] / len(raw))
        tracemalloc.stop()
    note = f"{len(times)} kinds of costly input; slowest {max(times):.1f} ms; at most {memory:.0f} times its bytes"
    p99 = sorted(times)[min(len(times) - 1, len(times) * 99 // 100)]
    return {"row": "refusing a megabyte, p99", "value": p99, "unit": "ms", "goal": -50, "note": note}


def _refused(gate: Gate, raw: bytes) -> float:
    start = time.process_time()
    with suppress(Malformed):
        gate.check(raw)
    return time.process_time() - start


def _microseconds(work: Callable[[bytes], object], items: Sequence[bytes]) -> float:
    """CPU time an item."""
    start = time.process_time()
    for item in items:
        work(item)
    return (time.process_time() - start) / len(items) * 1e6


def _fhir_resources(raw: bytes) -> object:
    from fhir.resources.R4B import get_fhir_model_class

    resource = json.loads(raw)  # once: to have the model read it again took a tenth longer
    return get_fhir_model_class(resource["resourceType"]).model_validate(resource)
