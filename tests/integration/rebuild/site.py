"""A ledger, a probe that follows it, and a new generation of that in the making."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg

from epicrisis.assembly import codec
from epicrisis.database import Database
from epicrisis.ledger import LedgerFollower
from epicrisis.projecting.digest import columns_of, content, digest
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.generations import LIVE, register
from epicrisis.projection import Projection
from epicrisis.provision.postgres import roles_of
from epicrisis.rebuild.building import begin, finish
from epicrisis.rebuild.fill import Filler
from epicrisis.rebuild.subject import Mended, mend
from epicrisis.rebuild.swap import Compared, compared_in_one_snapshot, swap
from epicrisis.settings import Settings
from tests.kernel_support import Desk, MemoryLog, Probe, note

CLINICS = ("charite/gyn", "amc/onc")
PATIENT = "-c idle_in_transaction_session_timeout=0"
"""A test may be stopped for a while, and go on."""


class Site:
    """The ledger and a probe, live; and a new generation of that in the making."""

    def __init__(self, settings: Settings, log: MemoryLog) -> None:
        self.settings, self.log = settings, log
        self.probe = Probe(settings)
        self.live = self.probe.projection
        self.database = Database(settings.dsn_for("cluster", "rebuilder"), size=2)
        with self.database.transaction() as cur:
            register(cur, self.live, LIVE)
        self.desks: list[Desk] = []

    def follow(self, *more: Projection, batch: int = 7) -> None:
        """A worker, from where it was to the end of the log."""
        desk = Desk(self.settings, self.log, [LedgerFollower(), *map(ProjectionFollower, (self.live, *more))])
        self.desks.append(desk)
        desk.follow(batch)

    def begin(self, projection: Projection | None = None) -> Projection:
        with self.database.transaction() as cur:
            return begin(cur, projection or self.live, self.probe.tables)

    def filler(self, *new: Projection) -> Filler:
        return Filler(
            self.settings.dsn_for("cluster", "rebuilder"),
            new,
            codec=codec(),
            keys=self.log.keys,
            partitions=self.settings.partitions,
        )

    def fill(self, *new: Projection) -> int:
        """Everything that is left; how many events."""
        filler, events = self.filler(*new), 0
        while (some := filler.step()) is not None:
            events += some
        filler.close()
        return events

    def finish(self, *new: Projection) -> None:
        for one in new:
            with self.database.transaction() as cur:
                finish(cur, one, None, roles_of(self.settings))

    def built(self) -> Projection:
        new = self.begin()
        self.fill(new)
        self.finish(new)
        return new

    def compare(self, new: Projection, live: Projection | None = None) -> list[Compared]:
        live = live or self.live
        return compared_in_one_snapshot(self.database, live, live.schema, new, seconds=0)

    def swap(self, new: Projection, live: Projection | None = None) -> None:
        swap(self.database, roles_of(self.settings), live=(live or self.live).schema, new=new.schema, seconds=5)

    def digests(self, one: Projection) -> list[Any]:
        with self.database.transaction() as cur:
            return [digest(cur, content(one, table), columns_of(table)) for table in one.tables.values()]

    def mend(self, subject: UUID) -> Mended:
        worker = Database(self.settings.dsn_for("cluster", "worker"), size=1)
        try:
            return mend(worker, self.live, subject, codec(), self.log.keys, self.settings.partitions)
        finally:
            worker.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.admin_dsn(self.settings.database("cluster")), autocommit=True) as admin:
            cursor = admin.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def queue(self, one: Projection) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT subject, source, seq, reason FROM projection.parked WHERE consumer = %s ORDER BY id", one.schema
        )

    def close(self) -> None:
        for desk in self.desks:
            desk.close()
        self.database.close()


def tell(log: MemoryLog, subjects: int = 30, each: int = 4) -> list[UUID]:
    """Histories of so many subjects, mixed, from two clinics."""
    some = [uuid4() for _ in range(subjects)]
    for n in range(each):
        for at, subject in enumerate(some):
            log.add(subject, note(str(n)), clinic=CLINICS[(n + at) % 2])
    return some
