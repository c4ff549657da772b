"""Writing over HTTP: transaction Bundles of Synthea, four clients, the whole gate; until the answer is there.

The server is what clinics meet: `epicrisis serve` with two processes, tokens, gate, references, deciders, journals
(fsync on), relay and workers are not running. A client sends its next Bundle when the one before is answered. HAPI FHIR
8.8 took 980 resources/s at its best, with validation off, measured earlier.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson

from bench.bundles import Sent, alone
from bench.door import door
from bench.row import Row, versus
from bench.stage import Watch, stage

RESOURCES, CLIENTS, WORKERS = 24_000, 4, 2
CITED, CITED_RATE = "HAPI FHIR 8.8 (its best, measured earlier, not in this run)", 980.0
TIMES_GOAL, GOAL = 5.0, 6_000
FHIR = {"Content-Type": "application/fhir+json"}


def run(short: bool = False) -> Iterator[Row]:
    """Rows: resources/s acknowledged, beside HAPI's and as it is; the server's processor time for one; p99 a Bundle."""
    some = list(alone(600 if short else RESOURCES))
    words = ("--workers", str(WORKERS))
    # An operator of its own: in a short run others have sent these patients too.
    with stage(kafka=False, own=False) as settings, door(settings, *words, operator="writing") as (client, role):
        warm, some = some[: len(some) // 8], some[len(some) // 8 :]
        send(client, warm, anew=True)  # what is made at the first request is there now, in each process
        before, watch = role.cpu_seconds(), Watch()
        took = send(client, some)
        seconds, busy = watch()
        processor = role.cpu_seconds() - before
    resources = sum(sent.entries for sent in some)
    rate = resources / seconds
    note = (
        f"{len(some)} Bundles, {resources:,} resources, {CLIENTS} clients, {WORKERS} processes, machine {busy:.0%} busy"
    )
    yield versus("Bundles over HTTP", rate, "resources/s", CITED, CITED_RATE, times_goal=TIMES_GOAL, note=note)
    yield {"row": "Bundles over HTTP, as it is", "value": rate, "unit": "resources/s", "goal": GOAL, "note": note}
    note = "of the server's processes; PostgreSQL's is apart"
    yield {"row": "processor time per resource", "value": processor / resources * 1e6, "unit": "µs", "note": note}
    p99 = statistics.quantiles(took, n=100)[98] * 1000
    note = f"p50 {statistics.median(took) * 1000:.0f} ms; a Bundle has {resources / len(some):.0f} resources on average"
    note += "; theirs is the mean of as many clients at that rate (Little's law), which their p99 is above"
    mean = CLIENTS * resources / len(some) / CITED_RATE * 1000
    yield versus("a Bundle over HTTP, p99", p99, "ms", CITED, mean, times_goal=1.0, note=note)


def send(client: httpx.Client, some: Iterable[Sent], connections: int = CLIENTS, *, anew: bool = False) -> list[float]:
    """How long each Bundle took, in seconds. ``anew``: each over a connection of its own."""
    todo = iter(some)  # of all threads: a connection takes the next one when it has its answer
    headers = FHIR | ({"Connection": "close"} if anew else {})

    def share(_: int) -> list[float]:
        took = []
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=120) as own:
            for sent in todo:
                began = time.perf_counter()
                answer = own.post("/", content=sent.raw, headers=headers).raise_for_status()
                took.append(time.perf_counter() - began)
                assert len(orjson.loads(answer.content)["entry"]) == sent.entries, "not every entry was answered"
        return took

    with ThreadPoolExecutor(connections) as clients:
        return [one for took in clients.map(share, range(connections)) for one in took]
