"""Reading over HTTP: a patient's everything, Observations by patient and code, one Patient; one client, one by one.

The server is a process of its own, as clinics meet it: token, scope, row level security, bodies unsealed from the
ledger. The goals are those of the project; HAPI FHIR 8.8 took 104 and 340 ms (p50, p99) for a whole record and 45 ms
(p99) for the Observations, measured earlier on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import httpx

from bench import records
from bench.door import door
from bench.row import Row
from bench.stage import Role, roles, stage

RESOURCES, READS, WARM = 12_000, 400, 20


def run(short: bool = False) -> Iterator[Row]:
    """Rows: p50 and p99 of each way of reading, in ms; the note says the processor time of the server for one."""
    with stage(own=False) as settings, roles(settings, ("relay",), ("work",)):
        records.fill(settings, 400 if short else RESOURCES)
        with door(settings) as (client, role):
            reads = 20 if short else READS
            patients = records.patients(client)
            whole = {p: client.get(f"/Patient/{p}/$everything?_count=1000").json()["total"] for p in patients}
            sizes = sorted(whole.values())
            said = f"{len(patients)} patients of {sizes[0]} to {sizes[-1]} resources, median {sizes[len(sizes) // 2]}"
            everything = [f"/Patient/{p}/$everything?_count=1000" for p in patients]
            yield from _rows("$everything?_count=1000", client, role, everything, reads, (-20, -80), said)
            coded = [url for p in patients[:20] for url in records.coded(client, p)]
            yield from _rows("Observation by patient and code", client, role, coded, reads, (None, -10), said)
            yield from _rows(
                "one Patient", client, role, [f"/Patient/{p}" for p in patients], reads, (None, None), said
            )


def _rows(
    name: str,
    client: httpx.Client,
    role: Role,
    urls: Sequence[str],
    reads: int,
    goals: tuple[float | None, float | None],
    said: str,
) -> Iterator[Row]:
    for url in islice(cycle(urls), WARM):
        client.get(url).raise_for_status()
    busy = role.cpu_seconds()
    took = sorted(records.took(client, url) for url in islice(cycle(urls), reads))
    each = 1000 * (role.cpu_seconds() - busy) / reads
    note = f"{reads} reads; {each:.1f} ms of the server's processor time for one; {said}"
    for share, part, goal in (("p50", 0.5, goals[0]), ("p99", 0.99, goals[1])):
        row: Row = {"row": f"{name}, {share}", "value": took[int(reads * part)], "unit": "ms", "note": note}
        yield row | ({"goal": goal} if goal is not None else {})
