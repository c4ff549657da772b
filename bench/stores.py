"""Who is compared in `bench.store`: our journal and ledger, and `eventsourcing`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.cryptography import AESCipher
from eventsourcing.domain import DomainEvent, datetime_now_with_tzinfo
from psycopg.conninfo import conninfo_to_dict

from bench.events import Event
from bench.plain import as_avro, fields, from_avro
from bench.stage import stage
from epicrisis.assembly import codec, key_store
from epicrisis.codec import KeyStore, Sealed
from epicrisis.database import Database
from epicrisis.journal import Append, NewEvent, PostgresJournal
from epicrisis.ledger import LedgerFollower, history
from epicrisis.projecting.delivery import Delivered
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.replay import facts
from epicrisis.settings import Settings

SERVICE = "chart"
PAGE = 2_000


@contextmanager
def stores() -> Iterator[tuple[Store, Store, Store, Store]]:
    """Ours sealed and not, theirs plain and ciphered, each with tables of its own, on one server."""
    cipher = {
        "COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor",
        "CIPHER_TOPIC": "eventsourcing.cryptography:AESCipher",
        "CIPHER_KEY": AESCipher.create_key(32),
    }
    with stage(kafka=False) as settings, stage(kafka=False) as second:
        keys = key_store(settings, "intake")
        sealed, unsealed = Ours(settings, keys), Unsealed(second, keys)
        theirs, ciphered = Theirs(settings, "es_plain"), Theirs(settings, "es_cipher", **cipher)
        try:
            yield sealed, unsealed, theirs, ciphered
        finally:
            for one in (sealed, unsealed, theirs, ciphered):
                one.close()
            keys.close()


class Store:
    """What is compared. Turns go round, so that what else the machine does hits all."""

    name: str

    def append(self, events: Sequence[Event]) -> None:
        """The next events of one subject, in one transaction."""
        raise NotImplementedError

    def history(self, subject: UUID) -> int:
        """Read and decode one subject's events; how many there were."""
        raise NotImplementedError

    def replay(self) -> int:
        """Read and decode everything; how many events there were."""
        raise NotImplementedError

    def settle(self) -> None:
        """Whatever comes between appending and reading, not measured."""


class Ours(Store):
    """Journal and ledger."""

    def __init__(self, settings: Settings, keys: KeyStore) -> None:
        self.name = "sealed"
        self._keys = keys
        self._journal = PostgresJournal(SERVICE, Database(settings.dsn_for(SERVICE, SERVICE), size=1, name=SERVICE))
        self._worker = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
        self._subjects: list[UUID] = []

    def _encode(self, events: Sequence[Event]) -> list[bytes]:
        key = self._keys.for_subjects([events[0].meta.subject])[events[0].meta.subject]
        return [codec().encode(meta, body, key) for meta, body in events]

    def append(self, events: Sequence[Event]) -> None:
        meta = events[0].meta
        new = [
            NewEvent(m.id, m.seq, m.stream, m.type, m.recorded, value)
            for (m, _), value in zip(events, self._encode(events), strict=True)
        ]
        self._journal.append([Append(meta.subject, meta.seq - 1, new)])
        if meta.seq == 1:
            self._subjects.append(meta.subject)

    def settle(self) -> None:
        with PostgresStore(self._worker).transaction() as at:
            for subject in self._subjects:
                values = self._journal.after(subject, 1, 2**31)
                items = [Delivered(0, 0, sealed.meta, value, sealed.body) for sealed, value in _opened(values)]
                LedgerFollower().apply(at, items, 0)

    def history(self, subject: UUID) -> int:
        with self._worker.transaction() as cur:
            entries = history(cur, subject)
        return sum(fact.body is not None for fact in facts(entries, codec(), self._keys))

    def replay(self) -> int:
        return sum(self._decoded(page) for page in self._pages())

    def _pages(self) -> Iterator[list[bytes]]:
        with self._worker.transaction() as cur:
            cur.execute("DECLARE everything BINARY CURSOR FOR SELECT value FROM ledger.event")
            while page := cur.execute(f"FETCH {PAGE} FROM everything").fetchall():
                yield [value for (value,) in page]

    def _decoded(self, values: Sequence[bytes]) -> int:
        opened = [codec().open(value) for value in values]
        keys = self._keys.by_ids({sealed.meta.key for sealed in opened if sealed.meta.key})
        return sum(codec().unseal(s, keys[s.meta.key]) is not None for s in opened if s.meta.key)

    def close(self) -> None:
        self._journal._database.close()
        self._worker.close()


class Unsealed(Ours):
    """The same journal and ledger, with plain Avro for bodies."""

    def __init__(self, settings: Settings, keys: KeyStore) -> None:
        super().__init__(settings, keys)
        self.name = "plain Avro"

    def _encode(self, events: Sequence[Event]) -> list[bytes]:
        return [as_avro(event) for event in events]

    def history(self, subject: UUID) -> int:
        with self._worker.transaction() as cur:
            entries = history(cur, subject)
        return self._decoded([entry.value for entry in entries])

    def _decoded(self, values: Sequence[bytes]) -> int:
        return sum(from_avro(value).body is not None for value in values)


@dataclass(frozen=True)
class Recorded(DomainEvent):
    """One of our events as one of theirs: what the envelope says, the facts, the resource."""

    told: dict[str, Any]


class Theirs(Store):
    """`eventsourcing`."""

    def __init__(self, settings: Settings, schema: str, **more: str) -> None:
        self.name = "JSON, zlib, AES" if more else "JSON"
        admin = settings.admin_dsn(settings.database("cluster"))
        with psycopg.connect(admin) as connection:
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        parts = conninfo_to_dict(admin)
        self._app: Application[UUID] = Application(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.postgres",
                "POSTGRES_DBNAME": str(parts["dbname"]),
                "POSTGRES_HOST": str(parts["host"]),
                "POSTGRES_PORT": str(parts["port"]),
                "POSTGRES_USER": str(parts["user"]),
                "POSTGRES_PASSWORD": str(parts["password"]),
                "POSTGRES_SCHEMA": schema,
                "POSTGRES_ENABLE_DB_FUNCTIONS": "yes",
                **more,
            }
        )

    def append(self, events: Sequence[Event]) -> None:
        now: datetime = datetime_now_with_tzinfo()
        self._app.events.put(
            [
                Recorded(
                    originator_id=event.meta.subject,
                    originator_version=event.meta.seq,
                    timestamp=now,
                    told=fields(event),
                )
                for event in events
            ]
        )

    def history(self, subject: UUID) -> int:
        return sum(1 for _ in self._app.events.get(subject))

    def replay(self) -> int:
        start, count, decoded = 1, 0, self._app.mapper.to_domain_event
        while page := self._app.recorder.select_notifications(start, PAGE):
            for notification in page:
                decoded(notification)
            start, count = page[-1].id + 1, count + len(page)
        return count

    def close(self) -> None:
        self._app.close()


def _opened(values: Sequence[bytes]) -> list[tuple[Sealed, bytes]]:
    return [(codec().open(value), value) for value in values]
