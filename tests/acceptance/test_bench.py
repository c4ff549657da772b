"""The short form of the scoreboard: every benchmark runs on a tiny input, and its table has every row."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from bench.__main__ import ORDER
from epicrisis.settings import Settings
from tests.acceptance.support import environment
from tests.infra import CHECKOUT

pytestmark = pytest.mark.servers

ROWS = {
    "projection": {"live, one process", "rebuild, 2 processes"},
    "rebuild": {"rebuild, 2,000 events", "memory of a process, 2,000 events"},
    "store": {
        *(
            f"append, {n} per command{writers}, {how}"
            for n in (1, 10, 100)
            for writers in ("", " by 8 writers at once")
            for how in ("sealed", "plain Avro")
        ),
        *(f"one history of 20 events, {how}" for how in ("sealed", "plain Avro")),
        *(f"replay of everything, {how}" for how in ("sealed", "plain Avro")),
    },
    "spine": {"bundle to readable", "worker memory", "all copies together", "worker alone"},
    "freshness": {f"commit to readable at 50 events/s, {share}" for share in ("p50", "p99")},
    "growth": {f"{step}, 100 events there" for step in ("append", "relay", "worker", "roster row", "whole history")},
    "codec": {
        "write, sealed",
        "read, sealed",
        "read, sealed, facts alone",
        "size, sealed",
    },
    "reading": {
        f"{what}, {share}"
        for what in ("$everything?_count=1000", "Observation by patient and code", "one Patient")
        for share in ("p50", "p99")
    },
    "writing": {
        "Bundles over HTTP",
        "Bundles over HTTP, as it is",
        "processor time per resource",
        "a Bundle over HTTP, p99",
    },
    "access": {
        *(
            f"{what}, p50"
            for what in (
                "$everything",
                "Observations of a patient",
                "Observation by patient and code",
                "one Patient",
            )
        ),
        "one Patient, 8 requests at once",
    },
    "mllp": {"ADT acknowledged", "processor time per ADT", "memory under a flood", "memory under a flood, its growth"},
    "client": {"produce", "consume"},
    "proof": {
        "chain and tree, one core",
        "what entries cost the worker",
        "a checkpoint a minute",
        "export and verify, 50 events",
        "replay of 50 events as a timeline, p99",
        *(f"replay of 50 events through {name}, p99" for name in ("clinic_patients", "cluster_chart")),
    },
    "fsck": {"fsck of 2,000 events"},
    "gate": {"gate, as sent", "gate, compact", "parse alone", "find references"},
    "fhir": {
        "Bundles in, until acknowledged",
        "Bundles in, until readable",
        "one patient",
        "a patient's whole record",
    },
}
"""By benchmark; `client`'s rows also name a version."""


class FakeFhir(BaseHTTPRequestHandler):
    """Answers a transaction entry by entry, and has one patient with a record of two pages."""

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answers = [{"response": {"status": "201 Created"}} for _ in sent["entry"]]
        self._answer({"resourceType": "Bundle", "type": "transaction-response", "entry": answers})

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        host = f"http://{self.headers['Host']}"
        patient = {"resource": {"resourceType": "Patient", "id": "p1"}}
        match url.path:
            case "/fhir/metadata":
                self._answer({"resourceType": "CapabilityStatement", "software": {"name": "Fake", "version": "1"}})
            case "/fhir/Patient/p1/$everything" if "page" not in url.query:
                after = {"relation": "next", "url": f"{host}/fhir/Patient/p1/$everything?page=2"}
                self._answer({"resourceType": "Bundle", "entry": [patient], "link": [after]})
            case "/fhir/Patient" | "/fhir/Patient/p1" | "/fhir/Patient/p1/$everything":
                self._answer({"resourceType": "Bundle", "entry": [patient]})
            case _:
                self.send_error(404)

    def _answer(self, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def fhir() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeFhir)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/fhir"
    server.shutdown()
    server.server_close()


class Ran(NamedTuple):
    """What `python -m bench --short` says, and where it has put its results."""

    said: str
    folder: Path


@pytest.fixture(scope="module")
def ran(settings: Settings, fhir: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """By benchmark; half of them beside the other half, because most of the time is waiting."""
    halves = []
    for names in (ORDER[::2], ORDER[1::2]):
        folder = tmp_path_factory.mktemp("bench")
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", "--short", "--results", str(folder / "results.json"), *names],
            env={**environment(settings), "FHIR": fhir},
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        halves.append((names, folder, process))
    found, told = {}, [process.communicate()[0] for _, _, process in halves]
    for (names, folder, process), said in zip(halves, told, strict=True):
        assert process.returncode == 0, said
        found.update(dict.fromkeys(names, Ran(said, folder)))
    return found


def test_every_benchmark_is_expected_here() -> None:
    assert set(ORDER) == set(ROWS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ORDER)
def test_the_table_has_every_row(name: str, ran: dict[str, Ran]) -> None:
    said, folder = ran[name]
    bench = json.loads((folder / "results.json").read_text())["benches"][name]
    rows = bench["rows"]
    assert {row["row"] for row in rows} >= ROWS[name], bench["problem"]
    page = (folder / "scoreboard.md").read_text()
    for row in rows:
        assert row["value"] > 0
        assert any(line.strip().startswith(row["row"]) for line in said.splitlines())
        assert f"| {row['row']} |" in page
        if "peer" in row:
            assert row["theirs"] > 0
            assert row["peer"] in page
    if bench["problem"] and bench["problem"].startswith("NotRun"):
        pytest.skip(f"not all of it was run. {bench['problem']}")
    assert bench["problem"] is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("plot", "name"), [("times", "store"), ("growth", "growth"), ("freshness", "freshness")])
def test_the_plots_are_drawn(plot: str, name: str, ran: dict[str, Ran]) -> None:
    assert "<svg" in (ran[name].folder / f"{plot}.svg").read_text()
