"""A rebuild from beginning to end; again after a kill, it goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple

import psycopg

from epicrisis import logging
from epicrisis.database import Database
from epicrisis.errors import EpicrisisError, Refused
from epicrisis.found import projection, sql_of
from epicrisis.projecting.generations import BUILDING, LIVE, READY, RETIRED, Generation, generations
from epicrisis.projection import Projection
from epicrisis.provision.postgres import roles_of
from epicrisis.rebuild.building import begin, finish, remove
from epicrisis.rebuild.following import Following
from epicrisis.rebuild.processes import fill
from epicrisis.rebuild.swap import Compared, behind, compared_in_one_snapshot, swap
from epicrisis.settings import Settings
from epicrisis.sql import queries

_SQL = queries("epicrisis.rebuild")
NEAR = 2_000
"""So many records behind, a worker can take it over without falling behind itself."""
LOOK_SECONDS = 0.2

log = logging.get(__name__)

Cursor = psycopg.Cursor[Any]
OnProgress = Callable[[str, int, int], None]
"""``(what, done, total)``."""


class Outcome(NamedTuple):
    """What came of it: the new generation is ``live``, or still ``ready`` because it differs from the live one."""

    projection: str
    generation: str
    instead_of: str
    state: str
    parked: int
    tables: list[Compared]


class _Build(NamedTuple):
    """A generation in the making, and the live one that it is to follow upon."""

    new: Projection
    live: Generation
    state: str
    filled: bool

    @property
    def same(self) -> bool:
        """Whether both come from the same code, and so must be equal."""
        return self.live.version == self.new.version


def rebuild(
    settings: Settings,
    names: Sequence[str],
    *,
    workers: int | None,
    wait: float,
    accept: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> list[Outcome]:
    """Fill a new generation of each of these projections from the ledger, compare it with the live one, swap.

    The ledger is read once for all of them, in ``workers`` processes (None: as many as are worth it); workers go on
    with the live ones. Where both
    have the same version and yet differ, the new one stays ``ready`` beside it unless ``accept``.

    Raises
    ------
    EpicrisisError
        Somebody else rebuilds one of them; or workers do not follow within ``wait`` seconds.
    """
    with _exclusively(settings, names) as database, ExitStack() as stack:
        with database.transaction() as cur:
            builds = [_begun(cur, projection(name)) for name in names]
        empty = [build.new for build in builds if not build.filled]
        fill(settings, empty, workers, lambda at: on_progress("events", at.done, at.total))
        for new in empty:
            with database.transaction() as cur:
                finish(cur, new, sql_of(new)[1], roles_of(settings))
            log.info("generation filled", projection=new.schema)
        building = [build.new for build in builds if build.state == BUILDING]
        if building:
            follower = stack.enter_context(closing(Following(settings, building)))
            first = left = follower.behind()
            if left > NEAR or not all(build.same for build in builds):
                follower.start()
            while left > NEAR:
                on_progress("records of the log", max(0, first - left), first)
                time.sleep(LOOK_SECONDS)
                left = follower.behind()
        done: dict[str, Outcome] = {}
        for build in builds:
            if not build.same:  # no worker of another release has this code: it is followed here until it is live
                done[build.new.name] = _settled(settings, database, build, wait, accept)
        stack.close()
        for build in builds:
            if build.same and build.state == BUILDING:
                with database.transaction() as cur:
                    cur.execute(_SQL["state"], {"schema": build.new.schema, "state": READY})
        for build in builds:
            if build.same:
                done[build.new.name] = _settled(settings, database, build, wait, accept)
        return [done[build.new.name] for build in builds]


def _begun(cur: Cursor, projection: Projection) -> _Build:
    """The generation that was begun before, or a new one."""
    known = generations(cur, projection.name)
    live = next((g for g in known if g.state == LIVE), None)
    if live is None:
        raise EpicrisisError(f"{projection.name} has no tables yet: `epicrisis provision`")
    begun = next((g for g in known if g.state in (BUILDING, READY)), None)
    if begun is None:
        return _Build(begin(cur, projection, sql_of(projection)[0]), live, BUILDING, False)
    if begun.version != projection.version:
        raise EpicrisisError(
            f"{begun.schema} was begun by a release with version {begun.version} of {projection.name}: "
            f"end it with that one, or `epicrisis rebuild {projection.name} --cancel`"
        )
    return _Build(projection.in_schema(begun.schema), live, begun.state, begun.filled_at is not None)


def _settled(settings: Settings, database: Database, build: _Build, wait: float, accept: bool) -> Outcome:
    """Compared, and swapped if nothing speaks against it."""
    old = build.new.in_schema(build.live.schema) if build.same else None
    tables = compared_in_one_snapshot(database, old, build.live.schema, build.new, wait)
    with database.transaction() as cur:
        row = cur.execute(_SQL["parked_subjects"], {"schema": build.new.schema}).fetchone()
    state = LIVE if accept or not any(table.differs for table in tables) else READY
    if state == LIVE:
        swap(database, roles_of(settings), live=build.live.schema, new=build.new.schema, seconds=wait)
        log.info("generation swapped", projection=build.new.schema)
        _drop_older(database, build)
    return Outcome(build.new.name, build.new.schema, build.live.schema, state, row[0] if row else 0, tables)


def _drop_older(database: Database, build: _Build) -> None:
    """One former generation is enough to go back to: workers follow each of them."""
    with database.transaction() as cur:
        former = [g.schema for g in generations(cur, build.new.name) if g.state == RETIRED]
    for schema in former:
        if schema != build.live.schema:
            with database.transaction() as cur:
                remove(cur, schema)


def rollback(settings: Settings, name: str, *, wait: float) -> tuple[str, str]:
    """Read the generation that was read before again; returns both names, the live one's first.

    It must have applied what the live one has: workers that have its code see to that. One of another version
    nobody follows any more once its release is gone.

    Raises
    ------
    EpicrisisError
        There is none, or it is behind.
    """
    with _exclusively(settings, [name]) as database:
        with database.transaction() as cur:
            known = generations(cur, name)
        live = next((g for g in known if g.state == LIVE), None)
        former = next((g for g in known if g.state == RETIRED), None)
        if live is None or former is None:
            raise Refused(f"{name} has no former generation to go back to")
        ours = projection(name).version == former.version
        deadline = time.monotonic() + (wait if ours else 0)
        while True:
            with database.transaction() as cur:
                lacks = behind(cur, former.schema, [live.schema])
            if not lacks:
                break
            if time.monotonic() > deadline:
                release = "this release" if ours else f"the release with version {former.version}"
                raise EpicrisisError(
                    f"{former.schema} is {lacks} records behind {live.schema}, and reading it would go back in time: "
                    f"start a worker of {release} (`epicrisis work`), then roll back with that release"
                )
            time.sleep(LOOK_SECONDS)
        swap(database, roles_of(settings), live=live.schema, new=former.schema, seconds=wait)
        log.info("generation swapped back", projection=former.schema)
        return former.schema, live.schema


def drop(settings: Settings, names: Sequence[str], *states: str) -> list[str]:
    """Drop the generations in one of these states; returns their names."""
    with _exclusively(settings, names) as database:
        with database.transaction() as cur:
            gone = [g.schema for name in names for g in generations(cur, name) if g.state in states]
        for schema in gone:
            with database.transaction() as cur:
                remove(cur, schema)
        return gone


@contextmanager
def _exclusively(settings: Settings, names: Sequence[str]) -> Iterator[Database]:
    """Nobody else rebuilds these projections meanwhile; the lock goes with this process."""
    database = Database(settings.dsn_for("cluster", "rebuilder"), size=2, name="cluster")
    try:
        with database.session() as cur:
            for name in names:
                row = cur.execute(_SQL["one_rebuild"], {"projection": projection(name).name}).fetchone()
                if row is None or not row[0]:
                    raise EpicrisisError(f"somebody else is rebuilding {name}: wait for that")
            yield database
    finally:
        database.close()
