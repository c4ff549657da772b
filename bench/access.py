"""What it costs that every reading is recorded before it leaves: the same reads, in turns, with and without.

Two servers on the same data, one of which records nothing. One client asks both in turns, so that whatever else happens
on this machine happens to both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import httpx

from bench import records
from bench.door import door
from bench.row import Row
from bench.stage import Role, roles, stage

RESOURCES, READS, WARM, AT_ONCE = 2_000, 200, 30, 8
GOAL = -1.15
"""Times the latency without, at most."""


def run(short: bool = False) -> Iterator[Row]:
    """Rows: how much longer a read takes (p50), and how much more processor time it costs the server."""
    with stage(own=False) as settings, roles(settings, ("relay",), ("work",)):
        records.fill(settings, 300 if short else RESOURCES)
        with door(settings) as recorded, door(settings, module="bench.unrecorded") as plain:
            reads, warm = (5, 2) if short else (READS, WARM)
            patients = records.patients(plain[0])
            everything = [f"/Patient/{p}/$everything?_count=1000" for p in patients]
            coded = [url for p in patients[:20] for url in records.coded(plain[0], p)]
            single = [f"/Patient/{p}" for p in patients]
            found = [f"/Observation?patient={p}&_count=50" for p in patients]
            yield from _rows("$everything", recorded, plain, everything, reads, warm)
            yield from _rows("Observations of a patient", recorded, plain, found, reads, warm)
            yield from _rows("Observation by patient and code", recorded, plain, coded, reads, warm)
            yield from _rows("one Patient", recorded, plain, single, reads, warm)
            yield _at_once(recorded[0], plain[0], single, reads)


def _rows(
    name: str,
    recorded: tuple[httpx.Client, Role],
    plain: tuple[httpx.Client, Role],
    urls: Sequence[str],
    reads: int,
    warm: int,
) -> Iterator[Row]:
    both = (recorded, plain)
    for url in islice(cycle(urls), warm):
        for client, _ in both:
            client.get(url).raise_for_status()
    busy = [role.cpu_seconds() for _, role in both]
    took: list[list[float]] = [[], []]
    for url in islice(cycle(urls), reads):
        for one, (client, _) in zip(took, both, strict=True):
            one.append(records.took(client, url))
    cpu = [1000 * (role.cpu_seconds() - b) / reads for (_, role), b in zip(both, busy, strict=True)]
    with_, without = (sorted(one)[reads // 2] for one in took)
    yield {
        "row": f"{name}, p50",
        "value": with_ / without,
        "unit": "× the time",
        "goal": GOAL,
        "note": f"{reads} reads each, in turns: {with_:.2f} ms recorded, {without:.2f} ms not; "
        f"{cpu[0]:.2f} and {cpu[1]:.2f} ms of the server's processor time",
    }


def _at_once(recorded: httpx.Client, plain: httpx.Client, urls: Sequence[str], reads: int) -> Row:
    """Several clients' worth of requests at once share commits."""

    def rate(client: httpx.Client) -> float:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            work = list(islice(cycle(urls), reads))
            began = time.perf_counter()
            list(threads.map(lambda url: client.get(url).raise_for_status(), work))
            return 1000 * (time.perf_counter() - began)

    took = [rate(client) for _ in range(3) for client in (recorded, plain)]
    with_, without = sorted(took[::2])[1], sorted(took[1::2])[1]
    return {
        "row": f"one Patient, {AT_ONCE} requests at once",
        "value": with_ / without,
        "unit": "× the time",
        "goal": GOAL,
        "note": f"{reads} reads, the median of three times: {with_:.0f} ms recorded, {without:.0f} ms not",
    }
