"""Our own worker and rebuild with the read model of `bench.peers.model`: the ledger archives, a projection folds."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg

from bench.peers.model import ready
from epicrisis.assembly import codec, key_store, missing, seldom_collect
from epicrisis.database import Database
from epicrisis.event import Meta, record, replace
from epicrisis.ledger import LedgerFollower
from epicrisis.projecting.ddl import create_projection
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Consumer
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.projection import Key, Projection, Scope
from epicrisis.provision.postgres import roles_of
from epicrisis.rebuild.fill import Filler
from epicrisis.settings import Settings
from epicrisis.worker import Worker

projection = Projection(name="bench_model", version=1, scope=Scope.CLUSTER)


@projection.table(key=("subject",), name="patient")
@record
class Patient:
    """The latest state of a subject."""

    subject: UUID
    events: int = 0
    name: str = ""
    birth_date: str = ""
    last_type: str = ""
    last_code: str = ""
    last_at: str = ""


@projection.table(key=("subject", "type"), name="tally")
@record
class Tally:
    """How many events of a type a subject has."""

    subject: UUID
    type: str
    events: int = 0


TABLES = """
CREATE TABLE patient (
    subject uuid PRIMARY KEY, events bigint, name text, birth_date text, last_type text, last_code text, last_at text
);
CREATE TABLE tally (subject uuid, type text, events bigint, PRIMARY KEY (subject, type));
"""


def of_subject(event: Any, meta: Meta) -> Iterable[Key]:
    return ((meta.subject,),)


def of_type(event: Any, meta: Meta) -> Iterable[Key]:
    return ((meta.subject, meta.type),)


def patient(row: Patient | None, event: Any, meta: Meta) -> Patient:
    row = row or Patient(subject=meta.subject)
    changes: dict[str, Any] = {"events": row.events + 1, "last_type": meta.type, "last_at": str(meta.effective)}
    if (family := getattr(event, "family", None)) is not None:
        changes["name"], changes["birth_date"] = f"{family}, {event.given}", event.birth_date
    if (code := getattr(event, "code", None)) is not None:
        changes["last_code"] = code.code
    return replace(row, **changes)


def tally(row: Tally | None, event: Any, meta: Meta) -> Tally:
    row = row or Tally(subject=meta.subject, type=meta.type)
    return replace(row, events=row.events + 1)


for _kind in codec().catalogue.kinds.values():
    projection.on(_kind.cls, Patient, rows=of_subject)(patient)
    projection.on(_kind.cls, Tally, rows=of_type)(tally)


def create(settings: Settings) -> None:
    """Make the projection's tables."""
    with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
        connection.execute(f'SET ROLE "{settings.role("rebuilder")}"'.encode())
        create_projection(connection, projection, tables=TABLES, reads=None, roles=roles_of(settings))


def follow(settings: Settings) -> None:
    """The worker, until it is killed."""
    some: list[Consumer] = [LedgerFollower(), ProjectionFollower(projection)]
    worker = Worker(
        settings,
        some,
        store=PostgresStore(Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")),
        decoder=Decoder(codec(), key_store(settings, "worker"), some),
        missing=missing(settings),
        applier=ThreadPoolExecutor(1, "apply"),
    )
    taken = worker.assigned

    def assigned(*given: Any) -> None:
        taken(*given)
        ready()

    worker.assigned = assigned  # type: ignore[method-assign]
    worker.run()


def fill(settings: Settings, schema: str) -> None:
    """One process of a rebuild: part after part of the ledger; says when it has done."""
    filler = Filler(
        settings.dsn_for("cluster", "rebuilder"),
        [projection.in_schema(schema)],
        codec=codec(),
        keys=key_store(settings, "rebuilder"),
        partitions=settings.partitions,
    )
    ready()
    while filler.step() is not None:
        pass
    print("done", flush=True)
    signal.pause()  # its processor time is still to be read


if __name__ == "__main__":
    schema = json.loads(sys.stdin.readline())
    seldom_collect()
    fill(Settings.read(), schema) if schema else follow(Settings.read())
