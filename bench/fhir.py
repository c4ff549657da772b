"""FHIR in and out, beside any FHIR R4 server: `make bench BENCH=fhir FHIR=http://localhost:8080/fhir`.

One client sends both the same transaction Bundles over HTTP, first to warm them up, then over several numbers of
connections, of which the best counts; then it reads one patient after the other, and their whole records. What is sent
again is about other patients. The server is somebody else's and is not started here; it keeps what it is sent, so give
it an empty one. Ours is a whole installation on the same machine: `epicrisis serve` with two processes (tokens, gate,
references, deciders, journals; fsync as the server has it), relay and worker. Without ``FHIR`` there are our figures
alone, which say no more than those of writing and reading below.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import httpx
import orjson

from bench import records
from bench.bundles import Sent, alone
from bench.door import door
from bench.events import other_ids
from bench.row import Row, versus
from bench.stage import roles, stage
from bench.writing import send
from epicrisis.lag import Lag
from epicrisis.ledger import LEDGER

RESOURCES, WARM_UP, READS, WORKERS = 10_000, 4, 30, 2
"""How many are sent each time; how many times to warm up."""
CONNECTIONS = (1, 4, 8)
INGEST_GOAL = 5.0
AT_MOST = 600


class Figures(NamedTuple):
    """Resources a second, acknowledged and readable; milliseconds for a patient and for a patient's whole record."""

    acknowledged: float
    readable: float
    patient: float
    everything: float
    said: str


def run(short: bool = False) -> Iterator[Row]:
    """Rows: ingest acknowledged, ingest readable, one patient, a patient's whole record."""
    some = list(alone(600 if short else RESOURCES))
    ours = _ours(some, short)
    note = f"{len(some)} Bundles with {sum(sent.entries for sent in some):,} entries each time; ours {ours.said}"
    values = {
        "Bundles in, until acknowledged": (ours.acknowledged, "resources/s"),
        "Bundles in, until readable": (ours.readable, "resources/s"),
        "one patient": (ours.patient, "ms"),
        "a patient's whole record": (ours.everything, "ms"),
    }
    url = os.environ.get("FHIR", "").rstrip("/")
    if not url:
        for name, (value, unit) in values.items():
            yield {"row": name, "value": value, "unit": unit, "note": note if unit != "ms" else ""}
        raise SystemExit("no server was measured: make bench BENCH=fhir FHIR=http://localhost:8080/fhir")
    with httpx.Client(base_url=url, headers={"Accept": "application/fhir+json"}, timeout=120) as client:
        software = client.get("/metadata").raise_for_status().json().get("software", {})
        peer = f"{software.get('name', 'a FHIR server')} {software.get('version', '')}".strip()
        theirs = _figures(client, some, short)
    goals = {"Bundles in, until acknowledged": INGEST_GOAL}
    for (name, (value, unit)), other in zip(values.items(), theirs, strict=False):
        said = f"{note}; theirs {theirs.said}" if unit != "ms" else ""
        yield versus(name, value, unit, peer, other, times_goal=goals.get(name), note=said)


def _ours(some: Sequence[Sent], short: bool) -> Figures:
    with (
        stage(own=False) as settings,
        roles(settings, ("relay",), ("work",)),
        # An operator of its own: in a short run others have sent these patients too.
        door(settings, "--workers", str(WORKERS), operator="fhir") as (client, _),
        closing(Lag(settings)) as lag,
    ):
        return _figures(client, some, short, lambda: lag.wait(120, [*lag.current(), LEDGER]))


def _figures(
    client: httpx.Client, some: Sequence[Sent], short: bool, settled: Callable[[], object] = lambda: None
) -> Figures:
    """Warm up, send over each number of connections, read. ``settled`` returns when all that was answered is readable:
    of somebody else's server it is taken that this is so at once.
    """
    turns = 1 if short else WARM_UP
    for turn in range(turns):
        send(client, [_about_others(sent, turn) for sent in some], max(CONNECTIONS) // 2)
    settled()
    rates = {}
    for turn, connections in enumerate(CONNECTIONS[:1] if short else CONNECTIONS, turns):
        others = [_about_others(sent, turn) for sent in some]
        resources, began = sum(sent.entries for sent in others), time.perf_counter()
        send(client, others, connections)
        acknowledged = resources / (time.perf_counter() - began)
        settled()
        rates[connections] = acknowledged, resources / (time.perf_counter() - began)
    ids = records.patients(client)[:READS]
    return Figures(
        *max(rates.values()),
        _milliseconds(lambda i: client.get(f"/Patient/{i}").raise_for_status(), ids),
        _milliseconds(lambda i: _everything(client, i), ids),
        ", ".join(f"{rate:,.0f}/s with {connections}" for connections, (rate, _) in rates.items()),
    )


def _about_others(sent: Sent, turn: int) -> Sent:
    """The same Bundle with other ids and identifiers: one that is sent again would count once."""
    bundle = orjson.loads(other_ids(sent.raw, turn))
    for entry in bundle["entry"]:
        for identifier in entry["resource"].get("identifier", ()):
            identifier["value"] += f"-{turn}"
    return sent._replace(raw=orjson.dumps(bundle, option=orjson.OPT_INDENT_2))


def _everything(client: httpx.Client, patient: str) -> None:
    """All pages of a patient's record."""
    url = f"/Patient/{patient}/$everything?_count=500"
    while url:
        page: dict[str, Any] = orjson.loads(client.get(url).raise_for_status().content)
        url = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), "")


def _milliseconds(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """The median, after one turn to warm."""
    took = []
    work(items[0])
    for item in items:
        began = time.perf_counter()
        work(item)
        took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)
