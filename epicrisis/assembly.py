"""Put the parts together from the settings: the only place where a role's process is wired."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.audit import published
from epicrisis.audit.checkpoint import POLICY, SCHEMAS, Checkpoints
from epicrisis.audit.export import export
from epicrisis.audit.postgres import PostgresRecords, PostgresRecordStore
from epicrisis.audit.recount import recount
from epicrisis.audit.signing import Signer
from epicrisis.audit.verifier.bundle import dumped
from epicrisis.audit.verifier.check import Verdict
from epicrisis.audit.verifier.history import Head
from epicrisis.audit.verifier.merkle import Wrong
from epicrisis.codec import Catalogue, Codec, Dictionaries, LocalWrapping, MemoryKeyStore, PostgresKeyStore
from epicrisis.codec.fingerprint import remember
from epicrisis.database import Database
from epicrisis.errors import EpicrisisError, Refused, SettingsError
from epicrisis.fhir.codes import Codes
from epicrisis.found import projection, projections, services
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests
from epicrisis.intake.inbox import PostgresInbox, Unmapped
from epicrisis.intake.terms import terms_of
from epicrisis.journal import PostgresJournal
from epicrisis.ledger import LedgerFollower, history
from epicrisis.operators import read_operators
from epicrisis.projecting import generations
from epicrisis.projecting.delivery import Consumer
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.quarantine import Quarantine
from epicrisis.quarantine.store import PostgresStore as QuarantineStore
from epicrisis.replay import ALL, Fact, When, facts
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from epicrisis.worker import Decoder, Worker, journal_reader

LEDGER = "ledger"


@cache
def codec() -> Codec:
    """The codec with the released schemas and dictionaries."""
    return Codec(Catalogue.load(), Dictionaries.load())


def key_store(settings: Settings, role: str) -> PostgresKeyStore:
    """The subjects' data keys, as this role may see them."""
    return PostgresKeyStore(settings.dsn_for("keys", role), LocalWrapping(settings.wrapping_key_bytes()))


def journals(
    settings: Settings, on_append: Callable[[str, Collection[int]], None] | None = None
) -> dict[str, PostgresJournal]:
    """The journal of every service, each with that service's own role."""

    def listener(name: str) -> Callable[[Collection[int]], None] | None:
        return None if on_append is None else lambda slices: on_append(name, slices)

    return {
        name: PostgresJournal(name, Database(settings.dsn_for(name, name), name=name), listener(name))
        for name in services()
    }


def intake(settings: Settings, on_append: Callable[[str, Collection[int]], None] | None = None) -> Intake:
    """An intake with connections of its own, for one thread; see `intakes`."""
    return intakes(settings, on_append)()


def intakes(
    settings: Settings, on_append: Callable[[str, Collection[int]], None] | None = None
) -> Callable[[], Intake]:
    """Makes intakes, one per thread, that share their connections.

    Raises
    ------
    SettingsError
        The wrapping key is not the one of these databases: patients would not be recognised, and double.
    """
    keys = Database(settings.dsn_for("keys", "intake"), size=1, name="keys")
    try:
        with keys.transaction() as cur:
            remember(cur, settings.wrapping_key_bytes())
    finally:
        keys.close()
    return partial(
        Intake,
        services=services(),
        journals=journals(settings, on_append),
        # a thread holds several sessions at once: one has the lock on the message
        inbox=PostgresInbox(Database(settings.dsn_for("intake", "intake"), size=16, name="intake")),
        codec=codec(),
        keys=key_store(settings, "intake"),
        digests=Digests(settings.wrapping_key_bytes()),
        terms=terms_of(read_operators(settings.operators_folder)),
    )


def unmapped_codes(settings: Settings) -> list[Unmapped]:
    """The local codes that were let in, and that the code maps do not have, by now, most frequent first."""
    terms = terms_of(read_operators(settings.operators_folder))
    database = Database(settings.dsn_for("intake", "reader"), size=1, name="intake")
    try:
        found = PostgresInbox(database).unmapped()
    finally:
        database.close()
    nothing = Codes()
    maps = {name: one.codes for name, one in terms.items()}
    return [one for one in found if not maps.get(one.operator, nothing).knows(one.system, one.code)]


def quarantine(settings: Settings, role: str = "intake") -> Quarantine:
    """What the doors refused: kept and settled as ``intake``, seen as ``auditor`` or, without content, ``reader``."""
    database = Database(settings.dsn_for("intake", role), size=2, name="intake")
    keys = MemoryKeyStore() if role == "reader" else key_store(settings, role)
    return Quarantine(QuarantineStore(database), keys)


def followed(cur: psycopg.Cursor[Any], names: Sequence[str] = ()) -> list[Consumer]:
    """Whom workers of this release follow the log for: the ledger, always first, and the projections' generations.

    Raises
    ------
    EpicrisisError
        Of those named there is nothing to follow: another version is live than this release's.
    """
    wanted = list(names) or [LEDGER, *projections()]
    found: list[Consumer] = [LedgerFollower()] if LEDGER in wanted else []
    code = [projection(name) for name in wanted if name != LEDGER]
    found += [ProjectionFollower(one) for one in sorted(generations.followed(cur, code), key=lambda one: one.schema)]
    if not found:
        raise EpicrisisError(f"another version is read than this release's: `epicrisis rebuild {' '.join(wanted)}`")
    return found


def worker(settings: Settings, names: Sequence[str] = ()) -> Worker:
    """A worker for the ledger and all projections, or those named, in the group of all workers for the same ones."""
    database = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
    return Worker(
        settings,
        (),
        store=PostgresStore(database),
        decoder=decoder(settings, names),
        missing=missing(settings),
        group=_group(names),
        following=lambda at: followed(at.cur, names),
        applier=ThreadPoolExecutor(1, "apply"),
    )


def decoder(settings: Settings, names: Sequence[str] = ()) -> Decoder:
    """What unseals for these projections, by default for all."""
    wanted = [name for name in names or projections() if name != LEDGER]
    return Decoder(codec(), key_store(settings, "worker"), [ProjectionFollower(projection(name)) for name in wanted])


def missing(settings: Settings) -> Callable[[UUID, str, int, int], list[bytes]]:
    """Fetches from the journals what a consumer has missed."""
    return journal_reader(settings, services())


def history_of(settings: Settings, subject: UUID, when: When = ALL) -> list[Fact] | None:
    """A subject's history from the ledger, as the auditor reads it; None where the ledger does not know the subject."""
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    with database.transaction() as cur:
        entries = history(cur, subject)
    database.close()
    return list(facts(entries, codec(), key_store(settings, "auditor"), when)) if entries else None


def seldom_collect() -> None:
    """Look for cycles of garbage seldom: batches make many objects and no cycles.

    The looking was a fifth of a worker's processor time (190 against 140 µs an event, in one process, in turns).
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _group(names: Sequence[str]) -> str:
    """All workers for the same consumers share their partitions; the default ones are simply ``worker``."""
    if not names:
        return "worker"
    if len(names) == 1:
        return f"worker.{names[0]}"
    return f"worker.{sha256(' '.join(sorted(names)).encode()).hexdigest()[:8]}"


def checkpoints(settings: Settings) -> Checkpoints:
    """The checkpoints of this installation, and who cosigns them.

    Raises
    ------
    SettingsError
        The file with the witnesses is not one, or there is no key to sign with.
    """
    try:
        witnesses = settings.witnesses.read_text(encoding="utf-8") if settings.witnesses else "quorum none\n"
        return Checkpoints(
            PostgresRecordStore(Database(settings.dsn_for("cluster", "checkpoint"), size=1, name="cluster")),
            Signer.log(settings.log_origin, settings.checkpoint_key_bytes()),
            settings.partitions,
            witnesses=witnesses,
            files={SCHEMAS: published_schemas()},
        )
    except (OSError, UnicodeDecodeError, Wrong) as problem:
        raise SettingsError(f"EPICRISIS_WITNESSES: {problem}: correct it and start again") from None


def published_schemas() -> str:
    """Every released schema by its name, as it goes with exported histories."""
    catalogue = codec().catalogue
    schemas = {f"{release.type}.v{release.version}": release.schema for release in catalogue.releases()}
    return dumped({**schemas, catalogue.envelope.type: catalogue.envelope.schema}) + "\n"


def export_of(settings: Settings, subject: UUID) -> tuple[bytes, Verdict]:
    """A subject's history with its proof, as the auditor reads it, as of the newest trusted checkpoint.

    Raises
    ------
    Refused
        There is no such checkpoint yet, or ledger and checkpoint do not agree.
    """
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    keys = key_store(settings, "auditor")
    try:
        with database.transaction() as cur:
            cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            entries = history(cur, subject)
            ids = {meta.key for entry in entries if (meta := codec().open(entry.value).meta).key is not None}
            partition = partition_of(slice_of(subject), settings.partitions)
            erased = bool(ids) and not keys.by_ids(ids)
            return export(PostgresRecords(cur), entries, subject, partition=partition, erased=erased)
    finally:
        keys.close()
        database.close()


def recounted(settings: Settings) -> list[str]:
    """What differs where everything that the newest checkpoint says is made anew from the ledger's entries."""
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    try:
        with database.transaction() as cur:
            cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return list(recount(PostgresRecords(cur)))
    finally:
        database.close()


def published_policy(settings: Settings) -> str:
    """Whose signatures count, as published with the newest checkpoint: for auditors to keep.

    Raises
    ------
    Refused
        There is none yet.
    """
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    try:
        with database.transaction() as cur:
            records = PostgresRecords(cur)
            newest = records.head()
            text = None if newest is None else records.file(Head.parse(newest.entry).files[POLICY])
    finally:
        database.close()
    if text is None:
        raise Refused("there is no checkpoint yet: start `epicrisis checkpoint`")
    return text


def publish_tiles(settings: Settings, folder: Path) -> int:
    """Write the trees of the newest trusted checkpoint as static files; how many there were not yet."""
    database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
    try:
        with database.transaction() as cur:
            cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return published.write(PostgresRecords(cur), folder)
    finally:
        database.close()
