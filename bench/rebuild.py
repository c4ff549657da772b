"""Rebuild: three read models made anew from the ledger together, on all processors, as the ledger grows tenfold.

``python -m bench.rebuild 100000 1000000 10000000`` takes other sizes (10^7: some 6 GB, and half an hour).
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import psycopg

from bench.events import Event, copy, first, keys_for, value_of
from bench.row import Row
from bench.stage import Watch, stage
from epicrisis import assembly
from epicrisis.database import Database
from epicrisis.found import projection, sql_of
from epicrisis.ledger import LedgerFollower
from epicrisis.projecting.delivery import Delivered
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.provision.postgres import roles_of
from epicrisis.rebuild.building import begin, finish, remove
from epicrisis.rebuild.processes import fill
from epicrisis.settings import Settings

NAMES = ("cluster_activity", "clinic_patients", "cluster_oncology_pathway")
SIZES = (100_000, 1_000_000)
ROUNDS = 3
"""So often each size is rebuilt. The speed is the median's; the cost of an event is the least, because whatever else
the machine does can only add to it."""
GOAL, MEMORY, FLAT = 60_000, 512, 0.15
OURS = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
"""The process that rebuilds, which fills too, and those that it starts."""
BATCH = 10_000
AT_MOST = 900
"""Seconds: nearly all of them make the ledger."""


def run(short: bool = False, sizes: tuple[int, ...] = SIZES) -> Iterator[Row]:
    """Rows: events/s from the first empty table to the last index, and the memory of a process, at each size."""
    workers = os.cpu_count() or 1
    costs: dict[int, float] = {}
    with stage(kafka=False) as settings:
        there = 0
        for size in (2_000,) if short else sizes:
            load(settings, there, size, workers)
            there = size
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:  # only what it uses itself counts
                rounds = [alone.submit(rebuilt, settings).result() for _ in range(1 if short else ROUNDS)]
            measured = sorted(rounds, key=lambda one: one["seconds"])[len(rounds) // 2]
            costs[size] = min(one["micros"] for one in rounds)
            yield {
                "row": f"rebuild, {size:,} events",
                "value": size / measured["seconds"],
                "unit": "events/s",
                "goal": None if short else GOAL,
                "note": f"{', '.join(NAMES)} together, at most {workers} processes; "
                f"{measured['seconds']:.1f} s, of which indexes {measured['finish']:.1f} s, "
                f"machine {measured['busy']:.0%} busy (the median of {len(rounds)}); "
                f"{costs[size]:.1f} µs of our processor an event (the least)",
            }
            yield {
                "row": f"memory of a process, {size:,} events",
                "value": max(one["mib"] for one in rounds),
                "unit": "MiB peak",
                "goal": -MEMORY,
            }
    if len(costs) > 1:
        least, most = min(costs.values()), max(costs.values())
        yield {
            "row": "rebuild, cost an event, dearest size over cheapest",
            "value": most / least,
            "unit": "times",
            "goal": -(1 + FLAT),
            "note": ", ".join(f"{size:,}: {cost:.1f} µs" for size, cost in costs.items())
            + f", each the least of {ROUNDS} rounds; all our processes are counted with the start of every one but the "
            "first, PostgreSQL's are not",
        }


def rebuilt(settings: Settings) -> dict[str, float]:
    """One rebuild, from the first empty table to the last index; then it is dropped."""
    database = Database(settings.dsn_for("cluster", "rebuilder"), size=1)
    watch, before, began = Watch(), _processor(), time.monotonic()
    with database.transaction() as cur:
        made = [begin(cur, projection(name), sql_of(projection(name))[0]) for name in NAMES]
    fill(settings, made, None, lambda _: None)
    filled = time.monotonic()
    for one in made:
        with database.transaction() as cur:
            finish(cur, one, sql_of(one)[1], roles_of(settings))
    seconds, busy = watch()
    used = _processor() - before
    with database.transaction() as cur:
        events = cur.execute("SELECT sum(events) FROM projection.part WHERE schema = %s", (made[0].schema,)).fetchone()
    for one in made:
        with database.transaction() as cur:
            remove(cur, one.schema)
    database.close()
    assert events is not None
    return {
        "seconds": seconds,
        "finish": seconds - (filled - began),
        "busy": busy,
        "micros": used / int(events[0]) * 1e6,
        "mib": max(resource.getrusage(who).ru_maxrss for who in OURS) / 1024,
    }


def _processor() -> float:
    """Seconds that this process and those that it has waited for have used so far."""
    used = [resource.getrusage(who) for who in OURS]
    return sum(one.ru_utime + one.ru_stime for one in used)


def load(settings: Settings, there: int, size: int, workers: int) -> None:
    """Archive events until there are so many: real ones, sealed by the real codec, under the subjects' own keys."""
    originals = len(first())
    turns = range(-(-there // originals), -(-size // originals))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(archive, settings, list(turns[n::workers])) for n in range(workers)]:
            done.result()
    with psycopg.connect(settings.admin_dsn(settings.database("cluster")), autocommit=True) as admin:
        admin.execute("VACUUM ANALYZE ledger.event")  # as it would be after a while; else the first reading does it
        admin.execute("CHECKPOINT")


def archive(settings: Settings, turns: list[int]) -> None:
    """What a worker does for the ledger, without Kafka before it."""
    assembly.seldom_collect()
    keys = assembly.key_store(settings, "intake")
    database = Database(settings.dsn_for("cluster", "worker"), size=1)
    store, ledger = PostgresStore(database), LedgerFollower()
    some = (event for turn in turns for event in round_of(turn))
    while batch := list(islice(some, BATCH)):
        known = keys_for(batch, keys)
        delivered = [Delivered(0, 0, event.meta, value_of(event, known)) for event in batch]
        with store.transaction() as at:
            ledger.apply(at, delivered, 0)
    keys.close()
    database.close()


def round_of(turn: int) -> Iterator[Event]:
    """All the first events, under other ids each turn."""
    return iter(first()) if turn == 0 else (copy(event, turn) for event in first())


if __name__ == "__main__":
    for row in run(sizes=tuple(map(int, sys.argv[1:])) or SIZES):
        print(row)
