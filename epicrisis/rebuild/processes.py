"""Filling in several processes at once. They share nothing but the list of parts in the database."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from epicrisis import logging
from epicrisis.assembly import codec, collecting_seldom, key_store, seldom_collect
from epicrisis.database import Database
from epicrisis.errors import Unreachable
from epicrisis.found import projection
from epicrisis.projection import Projection
from epicrisis.rebuild.fill import Filler
from epicrisis.settings import Settings
from epicrisis.sql import queries
from epicrisis.stopping import back_off
from epicrisis.worker import PASSING

_SQL = queries("epicrisis.rebuild")
LOOK_SECONDS = 0.2
TRIES = 10
WORTH_A_PROCESS = 200_000
"""So many events are worth another process: starting one costs as much as filling 50,000."""

log = logging.get(__name__)


class Progress(NamedTuple):
    """How many events of how many are in."""

    done: int
    total: int


def fill(
    settings: Settings,
    generations: Sequence[Projection],
    workers: int | None,
    on_progress: Callable[[Progress], None],
) -> None:
    """Fill what these generations lack, until nothing is left, in so many processes, of which this one is the first.

    By default as many as there are processors, fewer where little is left: this one has everything loaded already.
    """
    names = [(generation.name, generation.schema) for generation in generations]
    database = Database(settings.dsn_for("cluster", "rebuilder"), size=1, name="cluster")

    def goes_on() -> bool:
        on_progress(Progress(min(_look(database, names)[1], total), total))
        return True

    try:
        left, done = _look(database, names)
        if not left:
            return
        with database.transaction() as cur:
            row = cur.execute(_SQL["ledger_total"]).fetchone()
        total = row[0] if row else 0
        count = workers or min(os.cpu_count() or 1, 1 + (total - done) // WORTH_A_PROCESS)
        more = max(1, min(count, left)) - 1
        with ProcessPoolExecutor(max(1, more), mp_context=get_context("spawn")) as pool, collecting_seldom():
            others = [pool.submit(_process, settings, names, os.getpid()) for _ in range(more)]
            _fill(settings, names, goes_on)
            for one in others:
                if (error := one.exception()) is not None:  # what it had not done was done here
                    log.warning("a process that fills was lost", error=type(error).__name__)
    finally:
        database.close()


def _look(database: Database, names: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """How many parts are left, and how many events are in."""
    with database.transaction() as cur:
        row = cur.execute(_SQL["progress"], {"schemas": [schema for _, schema in names]}).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _process(settings: Settings, names: Sequence[tuple[str, str]], parent: int) -> None:
    """A further process. It ends when nothing is left, or when whoever started it is gone."""
    logging.configure("rebuild")
    seldom_collect()
    _fill(settings, names, lambda: os.getppid() == parent)


def _fill(settings: Settings, names: Sequence[tuple[str, str]], goes_on: Callable[[], bool]) -> None:
    """Part after part, until nothing is left; ``goes_on`` is asked before each."""
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
        while goes_on():
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
                time.sleep(back_off(failures))
    finally:
        for one in (filler, keys, database):
            one.close()
