"""The proof of an installation: the one place where its parts are put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from epicrisis.assembly import codec, key_store
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
from epicrisis.database import Database, briefly
from epicrisis.errors import Refused, SettingsError
from epicrisis.ledger import history
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of


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
    keys = key_store(settings, "auditor")
    try:
        with _snapshot(settings) as cur:
            entries = history(cur, subject)
            ids = {meta.key for entry in entries if (meta := codec().open(entry.value).meta).key is not None}
            partition = partition_of(slice_of(subject), settings.partitions)
            erased = bool(ids) and not keys.by_ids(ids)
            return export(PostgresRecords(cur), entries, subject, partition=partition, erased=erased)
    finally:
        keys.close()


def recounted(settings: Settings) -> list[str]:
    """What differs where everything that the newest checkpoint says is made anew from the ledger's entries."""
    with _snapshot(settings) as cur:
        return list(recount(PostgresRecords(cur)))


def published_policy(settings: Settings) -> str:
    """Whose signatures count, as published with the newest checkpoint: for auditors to keep.

    Raises
    ------
    Refused
        There is none yet.
    """
    with _snapshot(settings) as cur:
        records = PostgresRecords(cur)
        newest = records.head()
        text = None if newest is None else records.file(Head.parse(newest.entry).files[POLICY])
    if text is None:
        raise Refused("there is no checkpoint yet: start `epicrisis checkpoint`")
    return text


def publish_tiles(settings: Settings, folder: Path) -> int:
    """Write the trees of the newest trusted checkpoint as static files; how many there were not yet."""
    with _snapshot(settings) as cur:
        return published.write(PostgresRecords(cur), folder)


@contextmanager
def _snapshot(settings: Settings) -> Iterator[psycopg.Cursor[Any]]:
    """The cluster database as the auditor sees it at one moment."""
    with briefly(settings.dsn_for("cluster", "auditor"), name="cluster") as database, database.transaction() as cur:
        cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield cur
