"""Filling in several processes at once. They share nothing but the list of parts in the database."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import NamedTuple

from epicrisis import logging
from epicrisis.assembly import codec, key_store, seldom_collect
from epicrisis.database import Database
from epicrisis.errors import EpicrisisError, Unreachable
from epicrisis.found import projection
from epicrisis.projection import Projection
from epicrisis.rebuild.fill import Filler
from epicrisis.settings import Settings
from epicrisis.sql import queries
from epicrisis.worker import BACK_OFF_SECONDS, PASSING

_SQL = queries("epicrisis.rebuild")
LOOK_SECONDS = 0.2
TRIES = 10

log = logging.get(__name__)


class Progress(NamedTuple):
    """How many events of how many are in."""

    done: int
    total: int


def fill(
    settings: Settings, generations: Sequence[Projection], workers: int, on_progress: Callable[[Progress], None]
) -> None:
    """Fill what these generations lack, until nothing is left, in so many processes."""
    names = [(generation.name, generation.schema) for generation in generations]
    database = Database(settings.dsn_for("cluster", "rebuilder"), size=1, name="cluster")
    try:
        left, done = _look(database, names)
        if not left:
            return
        with database.transaction() as cur:
            row = cur.execute(_SQL["ledger_total"]).fetchone()
        total = row[0] if row else 0
        on_progress(Progress(done, total))
        count = max(1, min(workers, left))
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            running = [pool.submit(_fill, settings, names, os.getpid()) for _ in range(count)]
            while not all(one.done() for one in running):
                time.sleep(LOOK_SECONDS)
                on_progress(Progress(min(_look(database, names)[1], total), total))
            for one in running:
                one.result()
    except BrokenProcessPool:
        raise EpicrisisError("one of the processes was killed: rebuild again, it goes on where it was") from None
    finally:
        database.close()


def _look(database: Database, names: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """How many parts are left, and how many events are in."""
    with database.transaction() as cur:
        row = cur.execute(_SQL["progress"], {"schemas": [schema for _, schema in names]}).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _fill(settings: Settings, names: Sequence[tuple[str, str]], parent: int) -> None:
    """One process: part after part. It ends when nothing is left, or when whoever started it is gone."""
    logging.configure("rebuild")
    seldom_collect()
    keys = key_store(settings, "rebuilder")
    filler = Filler(
        settings.dsn_for("cluster", "rebuilder"),
        [projection(name).in_schema(schema) for name, schema in names],
        codec=codec(),
        keys=keys,
        partitions=settings.partitions,
    )
    database = Database(settings.dsn_for("cluster", "rebuilder"), size=1, name="cluster")
    failures = 0
    try:
        while os.getppid() == parent:
            try:
                if filler.step() is None:
                    if not _look(database, names)[0]:
                        return
                    time.sleep(LOOK_SECONDS)  # another process has the last parts: it may be killed
                failures = 0
            except (*PASSING, Unreachable) as error:  # nothing was written: the part is filled again
                failures += 1
                if failures > TRIES:
                    raise Unreachable(
                        "the database does not answer: see `epicrisis doctor`, then rebuild again"
                    ) from None
                log.warning("filling waits", error=type(error).__name__, attempt=failures)
                time.sleep(min(BACK_OFF_SECONDS, 0.1 * 2**failures))
    finally:
        for one in (filler, keys, database):
            one.close()
