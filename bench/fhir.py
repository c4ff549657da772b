"""FHIR in and out, against any FHIR R4 server: `make bench BENCH=fhir FHIR=http://localhost:8080/fhir`.

The same transaction Bundles go to both. The server is somebody else's and is not started here; it is warmed up with
Bundles of the same kind, which it stores, so give it an empty one. It is sent to by several numbers of connections, and
the best counts.

Ours has no HTTP door yet: its Bundles go into `Intake.receive` (gate, references, deciders, journals; fsync as the
server has it) in one process, and its reads into the ledger and the read models, all without HTTP. That is in our
favour, and will be until there is one.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import orjson

from bench.bundles import Sent, bundles
from bench.row import Row, versus
from bench.stage import roles, stage
from epicrisis.assembly import LEDGER, history_of, intake
from epicrisis.database import Database
from epicrisis.found import projection
from epicrisis.lag import Lag
from epicrisis.readmodel import read
from epicrisis.settings import Settings

RESOURCES, WARM_UP_SECONDS, READS = 10_000, 45, 30
CONNECTIONS = (1, 4, 8)
SECONDS = 30
"""So long a server is sent to, for each number of connections."""
INGEST_GOAL = 5.0
CITED, CITED_RATE = "HAPI FHIR 8.8 (its best, measured earlier, not in this run)", 980.0
HEADERS = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}


class Figures(NamedTuple):
    """Resources a second, and milliseconds for a patient and for a patient's whole record."""

    rate: float
    patient: float
    everything: float


def run(short: bool = False) -> Iterator[Row]:
    """Rows: ingest acknowledged, ingest readable, one patient, a patient's whole record."""
    some = list(bundles(600 if short else RESOURCES, "general"))
    acknowledged, readable = ours(some, 2 if short else READS)
    url = os.environ.get("FHIR", "").rstrip("/")
    server, theirs, peer, rate = None, None, CITED, CITED_RATE
    if url:
        server = Server(url)
        theirs = server.figures(some, 0.5 if short else WARM_UP_SECONDS, 0.5 if short else SECONDS, short)
        peer, rate = server.name, theirs.rate
    note = f"{len(some)} Bundles with {sum(sent.entries for sent in some):,} entries; ours in one process without HTTP"
    for name, value in (("acknowledged", acknowledged.rate), ("readable", readable)):
        yield versus(
            f"Bundles in, until {name}",
            value,
            "resources/s",
            peer,
            rate,
            times_goal=INGEST_GOAL if name == "acknowledged" else None,
            note=f"{note}; {server.how}" if server is not None else note,
        )
    reads = {"one patient": (1, "connecting included"), "a patient's whole record": (2, "decoded from the ledger")}
    for name, (field, how) in reads.items():
        if theirs is not None:
            yield versus(name, acknowledged[field], "ms", peer, theirs[field], note=f"ours without HTTP, {how}")
        else:
            yield {"row": name, "value": acknowledged[field], "unit": "ms", "note": f"without HTTP, {how}"}
    if not url:
        raise SystemExit("no server was measured: make bench BENCH=fhir FHIR=http://localhost:8080/fhir")


def ours(some: Sequence[Sent], reads: int) -> tuple[Figures, float]:
    """Through intake, relay and worker; and how many resources a second were readable."""
    with stage(own=False) as settings, roles(settings, ("relay",), ("work",)):
        taker, lag = intake(settings), Lag(settings)
        began = time.perf_counter()
        resources = 0
        for sent in some:
            resources += taker.receive(sent.raw, operator=sent.operator, clinic=sent.clinic, door="bench").resources
        acknowledged = time.perf_counter() - began
        lag.wait(120, [LEDGER])
        readable = time.perf_counter() - began
        lag.close()
        subjects = _patients(settings, reads)
        patients = projection("clinic_patients")
        table = next(table for table in patients.tables.values() if table.shared)
        one = _milliseconds(lambda s: read(settings, patients, table=table, where={"subject": str(s)}), subjects)
        whole = _milliseconds(lambda s: history_of(settings, s), subjects)
    return Figures(resources / acknowledged, one, whole), resources / readable


def _patients(settings: Settings, number: int) -> list[UUID]:
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    with database.transaction() as cur:
        cur.execute("SELECT subject FROM read.clinic_patients_person ORDER BY subject LIMIT %s", (number,))
        found = [subject for (subject,) in cur]
    database.close()
    return found


class Server:
    """A FHIR server of somebody else's."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, headers=HEADERS, timeout=120)
        about = self._client.get("/metadata").raise_for_status().json()
        software = about.get("software", {})
        self.name = f"{software.get('name', 'a FHIR server')} {software.get('version', '')}".strip()
        self.how = ""

    def figures(self, some: Sequence[Sent], warm_up: float, seconds: float, short: bool = False) -> Figures:
        """Warm up, then send with each number of connections; then read what was sent."""
        sized = [(sent.raw, sent.entries) for sent in some]
        self._send(sized, 1 if short else max(CONNECTIONS) // 2, warm_up)
        rates = {n: self._send(sized, n, seconds) for n in ((1,) if short else CONNECTIONS)}
        connections = max(rates, key=lambda n: rates[n])
        self.how = f"theirs after {warm_up:.0f} s of warm-up, " + ", ".join(
            f"{rate:.0f}/s with {n}" for n, rate in rates.items()
        )
        patients = self._client.get("/Patient", params={"_count": READS}).raise_for_status().json()
        ids = [entry["resource"]["id"] for entry in patients.get("entry", [])]
        one = _milliseconds(lambda i: self._client.get(f"/Patient/{i}").raise_for_status().content, ids)
        return Figures(rates[connections], one, _milliseconds(self._everything, ids))

    def _send(self, sized: Sequence[tuple[bytes, int]], connections: int, seconds: float) -> float:
        """Resources a second, of whole Bundles that were answered."""
        began, deadline, count = time.perf_counter(), time.perf_counter() + seconds, 0

        def one(number: int) -> int:
            if time.perf_counter() > deadline and number >= connections:
                return 0
            raw, resources = sized[number % len(sized)]
            answer = self._client.post("", content=raw).raise_for_status().json()
            assert len(answer["entry"]) == resources, "the server did not answer every entry"
            return resources

        with ThreadPoolExecutor(connections) as pool:
            number = 0
            while time.perf_counter() < deadline:
                count += sum(pool.map(one, range(number, number + connections)))
                number += connections
        return count / (time.perf_counter() - began)

    def _everything(self, patient: str) -> int:
        """All pages of a patient's record; how many resources."""
        count, url = 0, f"/Patient/{patient}/$everything?_count=500"
        while url:
            page: dict[str, Any] = orjson.loads(self._client.get(url).raise_for_status().content)
            count += len(page.get("entry", []))
            url = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), "")
        return count


def _milliseconds(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """The median, after one turn to warm."""
    took = []
    work(items[0])
    for item in items:
        began = time.perf_counter()
        work(item)
        took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)
