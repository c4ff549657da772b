"""Fsck: journals, log, ledger, trees and a sample of the read models of a large installation compared, on two cores.

``python -m bench.fsck 100000 1000000`` takes other sizes. The input is made as the roles would: every event is appended
to its service's journal, sent to the log, archived and entered into the trees by the ledger, all of it sealed; a
checkpoint is made, and the rows of the sample's patients are folded. What fsck then says must be: nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import psycopg
from kafka import KafkaConsumer, TopicPartition

from bench.events import appends, first, keys_for, send, value_of
from bench.rebuild import round_of
from bench.row import Row
from bench.stage import Watch, stage
from epicrisis import assembly
from epicrisis.audit.assembled import checkpoints
from epicrisis.database import Database
from epicrisis.found import services
from epicrisis.fsck.run import CHECKS, fsck
from epicrisis.ledger import LedgerFollower
from epicrisis.projecting.delivery import Delivered
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.rebuild.subject import rebuild_subject
from epicrisis.relay import producer
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from epicrisis.sql import queries

SIZE, GOAL, SAMPLE, SEED = 1_000_000, 60, 200, "bench"
BATCH, TOGETHER = 10_000, 200
"""Events archived in one transaction, subjects appended in one."""
AT_MOST = 900
"""Seconds: nearly all of them make the input."""


def run(short: bool = False, sizes: tuple[int, ...] = (SIZE,)) -> Iterator[Row]:
    """A row per size: seconds of one whole fsck."""
    for size in (2_000,) if short else sizes:
        with stage() as settings:
            events = load(settings, size, os.cpu_count() or 1)
            folded(settings, 5 if short else SAMPLE)
            watch = Watch()
            report = fsck(settings, CHECKS, sample=5 if short else SAMPLE, seed=SEED)
            seconds, busy = watch()
            assert not report.findings, report.findings[:3]
            assert report.events == report.records == events
            yield {
                "row": f"fsck of {size:,} events",
                "value": seconds,
                "unit": "s",
                "goal": None if short else -GOAL * events / SIZE,
                "note": f"{events:,}, of {report.subjects:,} patients, in {len(services())} journals, log, "
                f"ledger and trees; the read models of {report.compared}; machine {busy:.0%} busy",
            }


def load(settings: Settings, size: int, workers: int) -> int:
    """Whole rounds of events, so many or a few more; how many."""
    originals = len(first())
    turns = range(-(-size // originals))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        done = [pool.submit(made, settings, list(turns[n::workers])) for n in range(workers)]
        events = sum(one.result() for one in done)
    topic = settings.topic()
    log = KafkaConsumer(**settings.kafka("auditor"), enable_auto_commit=False)
    ends = log.end_offsets([TopicPartition(topic, p) for p in range(settings.partitions)])
    log.close(autocommit=False)
    with psycopg.connect(settings.admin_dsn(settings.database("cluster")), autocommit=True) as admin:
        for place, end in ends.items():
            admin.execute(
                "INSERT INTO projection.offset (consumer, partition, next_offset) VALUES ('ledger', %s, %s)",
                (place.partition, end),
            )
    for name in ("cluster", *services()):  # as it would be after a while; else the first reading does it
        with psycopg.connect(settings.admin_dsn(settings.database(name)), autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
            admin.execute("CHECKPOINT")
    published = checkpoints(settings)
    published.publish()
    published.store.close()
    return events


def made(settings: Settings, turns: list[int]) -> int:
    """What services, relay and ledger do with the events of these rounds."""
    assembly.seldom_collect()
    keys, books = assembly.key_store(settings, "intake"), assembly.journals(settings, services())
    database = Database(settings.dsn_for("cluster", "worker"), size=1)
    store, ledger, log = PostgresStore(database), LedgerFollower(), producer(settings)
    some, events = (event for turn in turns for event in round_of(turn)), 0
    while batch := list(islice(some, BATCH)):
        known = keys_for(batch, keys)
        values = [value_of(event, known) for event in batch]
        for name, wanted in appends(batch, values).items():
            for at in range(0, len(wanted), TOGETHER):
                books[name].append(wanted[at : at + TOGETHER])
        delivered = []
        for (meta, _), value in zip(batch, values, strict=True):
            partition = partition_of(slice_of(meta.subject), settings.partitions)
            send(log, settings, meta, value)
            delivered.append(Delivered(partition, 0, meta, value))
        with store.transaction() as at_:
            ledger.apply(at_, sorted(delivered, key=lambda d: d.partition), 0)
        events += len(batch)
    log.flush()
    log.close()
    keys.close()
    database.close()
    return events


def folded(settings: Settings, sample: int) -> None:
    """The rows of those patients whom fsck will draw."""
    with psycopg.connect(settings.dsn_for("cluster", "auditor")) as auditor:
        drawn = auditor.execute(queries("epicrisis.fsck")["sample"], {"seed": SEED, "limit": sample}).fetchall()
    for (subject,) in drawn:
        rebuild_subject(settings, subject)


if __name__ == "__main__":
    began = time.monotonic()
    for row in run(sizes=tuple(map(int, sys.argv[1:])) or (SIZE,)):
        print(row, f"{time.monotonic() - began:.0f} s in all")
