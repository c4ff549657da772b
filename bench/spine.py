"""The spine: from a bundle to a readable row, on real servers; and the bytes that all copies take.

Both speeds are of processes that run already: what they took to start, about a second of processor each, is neither in
the time nor in the processor time. A worker alone begins when it has its partitions, before any record is fetched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.bundles import FOLDERS, bundles, synthea
from bench.row import Row, versus
from bench.stage import Watch, roles, stage
from epicrisis.assembly import intake
from epicrisis.found import services
from epicrisis.importing import files, import_files
from epicrisis.lag import Lag
from epicrisis.ledger import LEDGER
from epicrisis.settings import Settings

RESOURCES = 34_000
"""As many as the Synthea folders have; so many of the simulation where they are not here."""
HAPI, HAPI_BYTES = "HAPI FHIR 8.8 (measured earlier, not in this run)", 8_500.0
BYTES_GOAL = 4.0


def run(short: bool = False) -> Iterator[Row]:
    """Rows: bundle to readable, the worker's memory, bytes per resource; the worker alone."""
    number = 600 if short else RESOURCES
    yield from throughput(number)
    yield from worker_alone(number)


def throughput(number: int) -> Iterator[Row]:
    """All processes at once: import, relay, worker; until the last event is readable. Then the size of everything."""
    with stage(own=False) as settings, roles(settings, ("relay",), ("work",)) as (relay, worker):
        lag = Lag(settings)
        empty = sum(sizes(settings).values())
        take_in(settings, number, FOLDERS[0])
        lag.wait(60, [LEDGER])
        started, watch = [role.cpu_seconds() for role in (relay, worker)], Watch()
        resources = take_in(settings, number, *FOLDERS[1:])
        imported, _ = watch()
        readable(settings, appended(settings))
        seconds, busy = watch()
        relayed, worked = (role.cpu_seconds() - cpu for role, cpu in zip((relay, worker), started, strict=True))
        lag.wait(60)
        yield {
            "row": "bundle to readable",
            "value": resources / seconds,
            "unit": "resources/s",
            "goal": 5000,
            "note": f"{resources} resources, {seconds:.1f} s (import {imported:.1f} s), machine {busy:.0%} busy, "
            f"relay {relayed:.1f} s and worker {worked:.1f} s of processor",
        }
        yield {"row": "worker memory", "value": worker.peak_mib(), "unit": "MiB peak", "goal": -256, "note": ""}
        parts = sizes(settings)
        whole = sum(parts.values())
        yield versus(
            "all copies together",
            (whole - empty) / resources,
            "bytes/resource",
            HAPI,
            HAPI_BYTES,
            times_goal=BYTES_GOAL,
            note=", ".join(f"{name} {size / resources:.0f}" for name, size in parts.items())
            + f"; less {empty / resources:.0f} that an installation takes before its first resource "
            f"({empty / 1e6:.1f} MB)",
        )
        lag.close()


def worker_alone(number: int) -> Iterator[Row]:
    """The log is full; how fast does one worker process make all read models and the ledger?"""
    with stage() as settings:
        with roles(settings, ("relay",)):
            take_in(settings, number, *FOLDERS)
            lag = Lag(settings)
            while any(lag.relay().values()):
                time.sleep(0.1)
        events = appended(settings)
        with roles(settings, ("work",)) as (worker,):
            while not lag.consumers():
                time.sleep(0.02)
            started, watch = worker.cpu_seconds(), Watch()
            readable(settings, events)
            seconds, busy = watch()
            worked = worker.cpu_seconds() - started
            lag.wait(60)
            yield {
                "row": "worker alone",
                "value": events / seconds,
                "unit": "events/s",
                "goal": 12000,
                "note": f"{events} events, {seconds:.1f} s, machine {busy:.0%} busy, "
                f"worker {worked:.1f} s of processor, {worker.peak_mib():.0f} MiB peak",
            }
        lag.close()


def take_in(settings: Settings, number: int, *folders: str) -> int:
    """Import the Synthea folders, wholly where so many resources are wanted; else as many Bundles as hold so many.
    Returns how many resources went in.
    """
    taker, paths = intake(settings), synthea(*folders)
    if paths and number == RESOURCES:
        report = import_files(files(paths), taker, operator="synthea", clinic="synthea/main")
        assert not report.refused, report.refused[:3]
        return report.resources.total()
    return sum(
        taker.receive(sent.raw, operator=sent.operator, clinic=sent.clinic, door="bench").resources
        for sent in list(bundles(number, *folders))
    )


def appended(settings: Settings) -> int:
    """How many events the journals have."""
    return sum(count(settings, name, "SELECT count(*) FROM journal.event") for name in services())


def readable(settings: Settings, events: int, seconds: float = 180.0) -> None:
    """Wait until the ledger and every read model have so many; a look costs next to nothing, unlike `Lag`'s."""
    deadline = time.monotonic() + seconds
    with psycopg.connect(settings.admin_dsn(settings.database("cluster")), autocommit=True) as reader:
        while time.monotonic() < deadline:
            row = reader.execute(APPLIED).fetchone()
            if row and row[0] is not None and row[0] >= events:
                return
            time.sleep(0.02)
    raise SystemExit(f"{events} events are not readable after {seconds:.0f} s: is there a worker?")


APPLIED = "SELECT min(total) FROM (SELECT sum(next_offset) AS total FROM projection.offset GROUP BY consumer) AS each"


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
