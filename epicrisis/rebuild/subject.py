"""One subject's rows, made anew from the ledger in place.

Its rows are replaced by the fold of its history, in one transaction with its positions, while the partition's worker
waits. Counters are left alone: what a subject has added to a sum is not kept, and cannot be taken out again. They get
what the fold applies for the first time, and nothing twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from epicrisis.assembly import codec, key_store
from epicrisis.codec import Codec, KeyStore
from epicrisis.database import Database, briefly
from epicrisis.errors import EpicrisisError, Refused
from epicrisis.folding import Count, Rows
from epicrisis.found import projection, projections
from epicrisis.ledger import LEDGER, history
from epicrisis.projecting.batch import UNWRITABLE, park
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Delivered
from epicrisis.projecting.digest import Digest, digest
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.generations import LIVE, generations
from epicrisis.projecting.positions import positions_of
from epicrisis.projecting.postgres import PostgresTransaction
from epicrisis.projecting.store import Saved
from epicrisis.projection import Place, Projection
from epicrisis.rebuild.fill import FROM_THE_LEDGER
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of

Cursor = psycopg.Cursor[Any]


class Mended(NamedTuple):
    """A read model's rows of one subject: how many there were, how many there are, and whether anything changed."""

    projection: str
    rows_before: int
    rows: int
    changed: bool
    waiting: int


def rebuild_subject(settings: Settings, subject: UUID, names: Sequence[str] = ()) -> list[Mended]:
    """Make this subject's rows of these read models (by default all) anew.

    Raises
    ------
    Refused
        The ledger does not know the subject; a projection has nothing of a single subject's, or another version is
        live; or the history cannot be folded as far as it has been.
    EpicrisisError
        The ledger is behind.
    """
    cluster = briefly(settings.dsn_for("cluster", "worker"), name="cluster")
    with cluster as database, closing(key_store(settings, "worker")) as keys:
        with database.transaction() as cur:
            live = {g.projection: g for g in generations(cur) if g.state == LIVE}
        mended = []
        for name in names or projections():
            found, generation = projection(name), live.get(name)
            if all(table.sums for table in found.tables.values()):
                if names:
                    raise Refused(f"{name} only sums over subjects, nothing in it is one's own: rebuild it as a whole")
                continue
            if generation is None or generation.version != found.version:
                if names:
                    raise Refused(f"{name} is read in another version than this release's: rebuild it as a whole")
                continue
            at = found.in_schema(generation.schema)
            mended.append(mend(database, at, subject, codec(), keys, settings.partitions))
        return mended


def mend(
    database: Database, generation: Projection, subject: UUID, codec: Codec, keys: KeyStore, partitions: int
) -> Mended:
    """The same for one generation."""
    follower, partition = ProjectionFollower(generation), partition_of(slice_of(subject), partitions)
    with database.transaction() as cur:
        at = PostgresTransaction(cur)
        at.hold([generation.schema, LEDGER], [partition])
        decoder = Decoder(codec, keys, [follower])
        items = []
        for entry in history(cur, subject):
            items.append(decoder.envelope(partition, FROM_THE_LEDGER, None, entry.value))
            items[-1].n = entry.n
        if not items:
            raise Refused("the ledger knows no such patient: `epicrisis read clinic_patients` lists them")
        decoder.bodies(items)
        before = at.positions([generation.schema], [subject]).get((generation.schema, subject), {})
        ((_, known),) = positions_of(items)
        if any(known.get(service, 0) < seq for service, seq in before.items()):
            raise EpicrisisError("the ledger is behind this read model: `epicrisis lag --wait 60`, then again")
        was = _digests(cur, generation, subject)
        rows, counts, waiting = _fold(follower, items, before, at)
        try:
            _replace(cur, generation, subject, rows)
            at.save(generation, counts)
        except UNWRITABLE as error:
            raise Refused(f"the rows cannot be written ({type(error).__name__}): mend the projection first") from None
        applied = [item for item in items if id(item) not in waiting]
        at.save_positions([(generation.schema, subject, dict(positions_of(applied)[0][1]) if applied else {})])
        now = _digests(cur, generation, subject)
    return Mended(generation.name, _rows(was), _rows(now), was != now, len(waiting))


def _fold(
    follower: ProjectionFollower, items: Sequence[Delivered], before: dict[str, int], at: PostgresTransaction
) -> tuple[dict[str, list[Saved]], dict[str, list[Saved]], set[int]]:
    """Rows by table, increments by table, and which events still wait (parked, in order)."""
    known = [item for item in items if item.meta.seq <= before.get(item.meta.source, 0)]
    fresh = [item for item in items if item.meta.seq > before.get(item.meta.source, 0)]
    rows: Rows = {}
    counts: dict[Place, Count] = {}
    if failures := follower.fold(known, rows, {}):
        first = failures[0]
        raise Refused(
            f"event {first.delivered.meta.source} {first.delivered.meta.seq} of this history was applied once and "
            f"cannot be any more ({first.reason}): the rows stay as they are"
        )
    failures = follower.fold(fresh, rows, counts)
    failed = {id(failure.delivered) for failure in failures}
    settled = {(item.meta.source, item.meta.seq) for item in items if id(item) not in failed}
    subject = items[0].meta.subject
    at.unpark([event.id for event in at.queue(follower.name, subject) if (event.source, event.seq) in settled])
    for failure in failures:
        park(at, follower.name, failure)
    by_table: defaultdict[str, list[Saved]] = defaultdict(list)
    sums: defaultdict[str, list[Saved]] = defaultdict(list)
    for (table, key), cell in rows.items():
        if cell.row is not None:
            by_table[table].append((key, cell.row, cell.n, False))
    for (table, key), count in counts.items():
        sums[table].append((key, count.row(), items[0].partition, False))
    return by_table, sums, failed


def _replace(cur: Cursor, generation: Projection, subject: UUID, rows: dict[str, list[Saved]]) -> None:
    for table in generation.tables.values():
        if not table.sums:
            name = sql.Identifier(generation.schema, table.name)
            cur.execute(sql.SQL("DELETE FROM {} WHERE subject = %s").format(name), (subject,))
    PostgresTransaction(cur).save(generation, rows)


def _digests(cur: Cursor, generation: Projection, subject: UUID) -> list[Digest]:
    found = []
    for table in generation.tables.values():
        if not table.sums:
            source = sql.SQL("(SELECT * FROM {} WHERE subject = {})").format(
                sql.Identifier(generation.schema, table.name), sql.Literal(subject)
            )
            found.append(digest(cur, source, table.columns))
    return found


def _rows(digests: list[Digest]) -> int:
    return sum(one.rows for one in digests)
