"""The gate against fhir.resources on the natural Synthea mix, in one run: `python -m bench.gate`.

CPU time, because machines are shared; the ratio is what counts. Every resource goes through the gate's whole check,
duplicate keys refused; fhir.resources, being slow, gets each n-th of the same stream.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from epicrisis.fhir.gate import Gate
from epicrisis.fhir.read import open_documents
from epicrisis.fhir.references import references, splice
from epicrisis.fhir.splice import with_id, with_meta

DATA = Path(os.environ.get("EPICRISIS_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESOURCES = 12_000
EVERY = 8  # fhir.resources takes each eighth
TURNS = 3


def _bundles() -> list[bytes]:
    """As many whole Bundles, as sent, as hold `RESOURCES` resources."""
    paths = [p for name in ("synthea-2019-r4", "synthea-2021-uscore") for p in sorted((DATA / name).rglob("*.json.gz"))]
    bundles, gate, count = [], Gate(), 0
    for path in paths[::3]:
        raw = next(open_documents(path)).raw
        bundles.append(raw)
        count += len(gate.check(raw).entries)
        if count >= RESOURCES:
            break
    return bundles


def _microseconds(work: Callable[[bytes], object], items: Sequence[bytes]) -> float:
    """CPU time an item."""
    start = time.process_time()
    for item in items:
        work(item)
    return (time.process_time() - start) / len(items) * 1e6


def _fhir_resources(raw: bytes) -> object:
    from fhir.resources.R4B import get_fhir_model_class

    return get_fhir_model_class(json.loads(raw)["resourceType"]).model_validate_json(raw)


def run() -> list[dict[str, Any]]:
    """Rows with what, µs per resource, and the ratio to fhir.resources where that makes sense."""
    gate, bundles = Gate(), _bundles()
    sent = [e.raw for raw in bundles for e in gate.check(raw).entries if e.raw is not None]
    compact = [msgspec.json.encode(msgspec.json.decode(raw)) for raw in sent]
    for raw in sent[::EVERY]:  # warm: the models are made on first use
        _fhir_resources(raw)
    rows: list[dict[str, Any]] = []
    for name, stream in (("as sent (indented)", sent), ("compact", compact)):
        turns = [  # by turns: what else the machine does hits both
            (_microseconds(_fhir_resources, stream[::EVERY]), _microseconds(gate.check, stream)) for _ in range(TURNS)
        ]
        theirs, ours = min(t for t, _ in turns), min(o for _, o in turns)
        size = round(sum(map(len, stream)) / len(stream))
        rows += [
            _row(f"fhir.resources, {name}, {size:,} B", theirs),
            _row(f"gate, {name}, {size:,} B", ours, theirs),
            _row(f"parse alone (msgspec), {name}", _microseconds(msgspec.json.decode, stream), theirs),
            _row(f"references, {name}", _microseconds(references, stream)),
            _row(f"splice references, {name}", _microseconds(lambda raw: splice(raw, lambda _: "Patient/1"), stream)),
            _row(f"with_id, {name}", _microseconds(lambda raw: with_id(raw, "a"), stream)),
            _row(f"with_meta, {name}", _microseconds(lambda raw: with_meta(raw, "1", "2024-01-01T00:00:00Z"), stream)),
        ]
        if stream is sent:  # with the cost of taking the Bundle apart
            rows.append(
                _row("gate, in whole Bundles", _microseconds(gate.check, bundles) * len(bundles) / len(sent), theirs)
            )
    return rows


def _row(what: str, microseconds: float, theirs: float | None = None) -> dict[str, Any]:
    ratio = round(theirs / microseconds, 1) if theirs else None
    return {"what": what, "us_per_resource": round(microseconds, 2), "times_fhir_resources": ratio}


if __name__ == "__main__":
    for row in run():
        ratio = f"{row['times_fhir_resources']:6.1f}x" if row["times_fhir_resources"] else ""
        print(f"{row['what']:45} {row['us_per_resource']:9.2f} µs {ratio}")
