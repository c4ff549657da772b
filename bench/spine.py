"""The spine: from a bundle to a readable row, on real servers, with the Synthea patients of the shared data."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from bench.stage import Watch, roles, shared_data, stage
from epicrisis import simulate
from epicrisis.assembly import intake
from epicrisis.found import services
from epicrisis.importing import files, import_files
from epicrisis.lag import Lag
from epicrisis.settings import Settings

FOLDER = "synthea-2019-r4"


def run() -> list[dict[str, Any]]:
    """Rows: bundle to readable; the worker alone; bytes per resource; freshness at 200 events/s."""
    return [*throughput(), *worker_alone(), *freshness()]


def throughput() -> Iterator[dict[str, Any]]:
    """All processes at once: import, relay, worker; until the last event is readable. Then the size of everything."""
    with stage() as settings, roles(settings, ("relay",), ("work",)) as (relay, worker):
        lag = Lag(settings)
        import_some(settings, "infrastructure")
        lag.wait(60, ["ledger"])
        watch = Watch()
        resources = import_some(settings, "general", "oncology")
        imported, _ = watch()
        lag.wait(180)
        seconds, busy = watch()
        yield {
            "row": "bundle to readable",
            "value": resources / seconds,
            "unit": "resources/s",
            "goal": 5000,
            "note": f"{resources} resources, {seconds:.1f} s (import {imported:.1f} s), machine {busy:.0%} busy, "
            f"relay {relay.cpu_seconds():.1f} s and worker {worker.cpu_seconds():.1f} s of processor",
        }
        yield {"row": "worker memory", "value": worker.peak_mib(), "unit": "MiB peak", "goal": -256, "note": ""}
        parts = sizes(settings)
        whole = sum(parts.values()) / resources
        yield {
            "row": "all copies together",
            "value": whole,
            "unit": "bytes/resource",
            "goal": -2500,
            "note": ", ".join(f"{name} {size / resources:.0f}" for name, size in parts.items()),
        }
        lag.close()


def worker_alone() -> Iterator[dict[str, Any]]:
    """The log is full; how fast does one worker process make all read models and the ledger?"""
    with stage() as settings:
        with roles(settings, ("relay",)):
            import_some(settings, "infrastructure", "general", "oncology")
            lag = Lag(settings)
            while any(lag.relay().values()):
                time.sleep(0.1)
        events = sum(count(settings, name, "SELECT count(*) FROM journal.event") for name in services())
        with roles(settings, ("work",)) as (worker,):
            while not lag.consumers():
                time.sleep(0.02)
            watch = Watch()
            lag.wait(180)
            seconds, busy = watch()
            yield {
                "row": "worker alone",
                "value": events / seconds,
                "unit": "events/s",
                "goal": 12000,
                "note": f"{events} events, {seconds:.1f} s, machine {busy:.0%} busy, "
                f"worker {worker.cpu_seconds():.1f} s of processor, {worker.peak_mib():.0f} MiB peak",
            }
        lag.close()


def freshness(rate: int = 200, seconds: int = 20) -> Iterator[dict[str, Any]]:
    """Commit → readable, at a steady rate, for events of many patients."""
    with stage() as settings, roles(settings, ("relay",), ("work",)):
        lag = Lag(settings)
        taker = intake(settings)
        messages = list(simulate.messages(patients=60, seed=1))
        for message in messages[: len(messages) // 3]:
            taker.receive(message.bundle, operator=message.operator, clinic=message.clinic, door="bench")
        lag.wait(60, ["ledger"])
        with psycopg.connect(settings.admin_dsn(settings.database("cluster")), autocommit=True) as reader:
            probe = Probe(reader)
            began, sent = time.monotonic(), 0
            todo = iter(messages[len(messages) // 3 :])
            while time.monotonic() - began < seconds and (message := next(todo, None)) is not None:
                receipt = taker.receive(message.bundle, operator=message.operator, clinic=message.clinic, door="bench")
                if receipt.repeated:
                    continue
                sent += receipt.total
                probe.committed(receipt.total)
                probe.look()
                while (ahead := sent / rate - (time.monotonic() - began)) > 0:
                    probe.look()
                    time.sleep(min(ahead, 0.005))
            reached = sent / (time.monotonic() - began)
            while probe.waiting:
                probe.look()
        waits = sorted(probe.waits)
        yield {
            "row": "commit to readable, p99",
            "value": 1000 * waits[int(len(waits) * 0.99)],
            "unit": "ms",
            "goal": -500,
            "note": f"{sent} events in {len(waits)} messages, {reached:.0f} events/s ({rate} asked for), "
            f"p50 {1000 * statistics.median(waits):.0f} ms",
        }
        lag.close()


class Probe:
    """How long each commit takes to be in every read model and the ledger: seen by the offsets, which move with
    them.
    """

    def __init__(self, reader: psycopg.Connection[Any]) -> None:
        self._reader = reader
        self._base = self._applied()
        self._sent = 0
        self.waiting: deque[tuple[int, float]] = deque()
        self.waits: list[float] = []

    def committed(self, events: int) -> None:
        """So many events were committed just now."""
        if events:
            self._sent += events
            self.waiting.append((self._base + self._sent, time.monotonic()))

    def look(self) -> None:
        """Take the time of those that have arrived."""
        applied, now = self._applied(), time.monotonic()
        while self.waiting and self.waiting[0][0] <= applied:
            self.waits.append(now - self.waiting.popleft()[1])

    def _applied(self) -> int:
        row = self._reader.execute(
            "SELECT min(total) FROM (SELECT sum(next_offset) AS total FROM projection.offset GROUP BY consumer)"
        ).fetchone()
        return int(row[0] or 0) if row else 0


def import_some(settings: Settings, *folders: str) -> int:
    """Import these folders of the Synthea data; returns how many resources went in."""
    root = shared_data() / FOLDER
    report = import_files(
        files([root / f for f in folders]), intake(settings), operator="synthea", clinic="synthea/main"
    )
    assert not report.refused, report.refused[:3]
    return report.resources.total()


def sizes(settings: Settings) -> dict[str, int]:
    """Bytes on disk of every copy, indexes included."""
    found = {"journals": 0}
    for name in services():
        found["journals"] += count(settings, name, SIZE, "journal")
    found["originals"] = count(settings, "intake", SIZE, "inbox")
    found["ledger"] = count(settings, "cluster", SIZE, "ledger")
    found["read models"] = count(settings, "cluster", SIZE_OF_REST)
    parts = (settings.state / "kafka").rglob(f"{settings.topic()}-*")
    found["kafka"] = sum(p.stat().st_size for d in parts for p in Path(d).glob("*.log"))
    return found


SIZE = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n
ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'"""
SIZE_OF_REST = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n
ON n.oid = c.relnamespace WHERE c.relkind = 'r'
AND n.nspname NOT IN ('ledger', 'pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%%'"""


def count(settings: Settings, database: str, query: str, *values: str) -> int:
    """One number from one of the databases."""
    with psycopg.connect(settings.admin_dsn(settings.database(database))) as connection:
        row = connection.execute(query.encode(), values or None).fetchone()
        assert row is not None
        return int(row[0])
