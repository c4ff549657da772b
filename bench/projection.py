"""Projections against quixstreams with its PostgreSQL sink, and against a plain confluent-kafka + executemany loop.

Everybody builds the read model of `bench.peers.model` (an archive of every event, the latest state of each subject, a
count per subject and event type) from the same events in the same order, in the same PostgreSQL, each from a topic of
16 partitions: ours from our sealed records, the peers from the same events in plain JSON, so that they decrypt and
decompress nothing. At the end the rows must be equal. A run begins when every process has its partitions, and ends when
the last event is in all three tables.

Live is one process. Rebuilding is everything again from the beginning on two processes, without the archive, which is
there already: the peers follow the topic from its begin into empty tables, half of the partitions each; ours reads the
ledger as `epicrisis rebuild` does. Ours also seals, chains the archive, knows a repeated or missing event, and moves
rows and offsets together; the peers deliver at least once and may count twice.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import psycopg

from bench import live
from bench.contenders import (
    HALVES,
    PARTITIONS,
    PLAIN,
    QUIX,
    WHOLE,
    Contender,
    Result,
    build,
    digest,
    fill_topics,
    of_peer,
    quix_python,
    together,
    topics,
    version_of,
)
from bench.events import events
from bench.row import Row, versus
from bench.stage import Process, stage
from epicrisis.database import Database
from epicrisis.provision.postgres import roles_of
from epicrisis.rebuild.building import begin, finish, remove
from epicrisis.settings import Settings

AT_MOST = 600
"""Seconds."""
EVENTS = 100_000
PROCESSES, TIMES = 2, 3
"""Processes of a rebuild; ours, which takes a second or two, is done three times, and the median counts."""
LIVE_GOAL, REBUILD_GOAL = 2.5, 8.0


def run(short: bool = False) -> Iterator[Row]:
    """Rows: live against each peer, then rebuilt against each peer."""
    number = 300 if short else EVENTS
    with stage(PARTITIONS) as settings, topics(settings), tempfile.TemporaryDirectory() as scratch:
        fill_topics(settings, list(events(number)))
        live.create(settings)
        command, dsn = [sys.executable, "-m", "bench.live"], settings.admin_dsn(settings.database("cluster"))
        alive = build(settings, Contender("ours", command, [None], dsn, live.projection.schema, "ledger.event"), number)
        turns = [rebuilt(settings) for _ in range(1 if short else TIMES)]
        again = turns[0]._replace(
            seconds=statistics.median(t.seconds for t in turns), processor=statistics.median(t.processor for t in turns)
        )
        peers = {PLAIN: [sys.executable, "-m", "bench.peers.plain_loop"]}
        absent, failed = "", list[str]()
        try:
            peers[QUIX] = [str(quix_python(make=not short)), "-m", "bench.peers.quix"]
        except (OSError, subprocess.CalledProcessError) as error:
            absent = f"quixstreams runs in a venv of its own, which `make bench BENCH=projection` makes: {error}"
        for row, ours, names, goal in (
            ("live, one process", alive, WHOLE, LIVE_GOAL),
            (f"rebuild, {PROCESSES} processes", again, HALVES, REBUILD_GOAL),
        ):
            for name, command in peers.items():
                try:
                    theirs = of_peer(settings, name, command, names, scratch, number)
                    if theirs.digest != ours.digest:
                        raise RuntimeError(f"{name} has built other rows")
                except RuntimeError as error:  # the others' rows are not lost with it
                    failed.append(f"{row}: {error}")
                    continue
                yield versus(
                    row,
                    number / ours.seconds,
                    "events/s",
                    version_of(name),
                    number / theirs.seconds,
                    times_goal=goal if name == QUIX else None,
                    note=f"{number:,} events into equal rows, {ours.seconds:.1f} and {theirs.seconds:.1f} s; "
                    f"{ours.processor:.1f} and {theirs.processor:.1f} s of processor in the processes themselves",
                )
    if failed:
        raise RuntimeError("; ".join(failed))
    if absent:
        raise SystemExit(absent)


def rebuilt(settings: Settings) -> Result:
    """Ours, from the ledger: from the first empty table to the last index, without the start of the processes."""
    database = Database(settings.dsn_for("cluster", "rebuilder"), size=1)
    began = time.monotonic()
    with database.transaction() as cur:
        made = begin(cur, live.projection, live.TABLES)
    seconds = time.monotonic() - began
    processes = [Process(settings, [sys.executable, "-m", "bench.live"], made.schema) for _ in range(PROCESSES)]
    try:
        began = together(processes)
        for process in processes:
            process.line()
        seconds += time.monotonic() - began
        processor = sum(process.cpu_seconds() for process in processes)
    finally:
        for process in processes:
            process.stop(kindly=False)
    began = time.monotonic()
    with database.transaction() as cur:
        finish(cur, made, None, roles_of(settings))
    seconds += time.monotonic() - began
    with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as reader:
        found = digest(reader, made.schema)
    with database.transaction() as cur:
        remove(cur, made.schema)
    database.close()
    return Result(seconds, processor, found)
