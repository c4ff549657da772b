"""Builders for tests of the kernel: subjects, journal events, a log in memory, probe projections, small clusters."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
from kafka import KafkaConsumer, TopicPartition

from epicrisis import assembly
from epicrisis.assembly import codec
from epicrisis.codec import DataKey, KeyStore
from epicrisis.codec.envelope import Envelopes
from epicrisis.database import Database
from epicrisis.event import Meta, event_type, event_version, record, replace
from epicrisis.found import services
from epicrisis.intake import Receipt
from epicrisis.journal import Append, NewEvent
from epicrisis.projecting.ddl import create_projection
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Consumer
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.projection import Projection, Scope
from epicrisis.provision import drop, postgres, provision
from epicrisis.relay import Relay
from epicrisis.settings import Settings
from epicrisis.slices import slice_of
from epicrisis.worker import Worker
from schemas.chart import ResourceRecorded
from schemas.common import Coding

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
NO_CODE = Coding(system="", code="", display="")


@contextmanager
def own_namespace(servers: dict[str, Any], *, kafka: bool = True) -> Iterator[Settings]:
    """A provisioned installation of a test module's own, dropped at the end."""
    settings = Settings(**servers, namespace=f"t_{secrets.token_hex(4)}")
    (provision if kafka else postgres.provision)(settings)
    try:
        yield settings
    finally:
        (drop if kafka else postgres.drop)(settings)
        settings.forget_secrets()


def subject_in(slice_: int) -> UUID:
    """A new subject that falls into this slice."""
    while slice_of(subject := uuid4()) != slice_:
        pass
    return subject


def new_events(subject: UUID, first: int, count: int, stream: str = "", type_: str = "chart.Test") -> list[NewEvent]:
    """Events for a journal, numbered from ``first``; their bodies are not sealed."""
    metas = [
        Meta(
            id=uuid4(),
            type=type_,
            version=1,
            source="chart",
            operator="charite",
            clinic="charite/gyn",
            subject=subject,
            seq=seq,
            stream=stream or f"Patient/{subject}",
            effective=START,
            recorded=START,
        )
        for seq in range(first, first + count)
    ]
    write = Envelopes(codec().catalogue.envelope).write
    return [
        NewEvent(m.id, m.seq, m.stream, m.type, m.recorded, write(m, m.id.bytes, subject.bytes, bytes(16), b"body"))
        for m in metas
    ]


def append_of(subject: UUID, expected: int, count: int, stream: str = "") -> Append:
    """The next ``count`` events of a subject."""
    return Append(subject, expected, new_events(subject, expected + 1, count, stream))


def wait_until(happened: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Poll until it happened; the time limit only ends a test that would never end."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return found


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(0..count-1)`` at the same time; the first error of any of them is raised."""
    errors: list[BaseException] = []
    together = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            together.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# A log in memory


class Record(NamedTuple):
    """What a Kafka consumer yields, as far as the worker looks at it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class MemoryLog:
    """One partition of the log, filled by hand. ``seqs`` counts per subject and service as a journal would."""

    def __init__(self, keys: KeyStore, partition: int = 0) -> None:
        self.keys = keys
        self.partition = partition
        self.records: list[Record] = []
        self.values: dict[tuple[UUID, str], list[bytes]] = {}
        self._now = START

    def add(self, subject: UUID, body: Any, *, clinic: str = "charite/gyn", withheld: bool = False) -> Record:
        """The subject's next event, journalled and (unless ``withheld``) put on the log."""
        source = event_type(body).split(".")[0]
        past = self.values.setdefault((subject, source), [])
        self._now += timedelta(seconds=1)
        meta = Meta(
            id=uuid4(),
            type=event_type(body),
            version=event_version(body),
            source=source,
            operator=clinic.split("/")[0],
            clinic=clinic,
            subject=subject,
            seq=len(past) + 1,
            stream=f"Observation/{subject}",
            effective=self._now,
            recorded=self._now,
        )
        key: DataKey = self.keys.for_subjects([subject])[subject]
        value = codec().encode(meta, body, key)
        past.append(value)
        if withheld:
            return Record(self.partition, -1, subject.bytes, value)
        return self.put(subject.bytes, value)

    def put(self, key: bytes | None, value: bytes | None) -> Record:
        """Any record."""
        record = Record(self.partition, len(self.records), key, value)
        self.records.append(record)
        return record

    def missing(self, subject: UUID, source: str, first: int, last: int) -> list[bytes]:
        """The journal behind it."""
        return self.values.get((subject, source), [])[first - 1 : last]


def note(text: str = "final", *, date: str = "", code: str = "") -> ResourceRecorded:
    """An event for the probe."""
    return ResourceRecorded(
        resource_type="Observation",
        resource_id="o",
        status=text,
        category=NO_CODE,
        code=Coding(system="", code=code, display=""),
        date=date,
        encounter_id="",
        resource=b"{}",
    )


# Probe projections


@record
class Trail:
    """Every event that was applied to a subject, in order: any double, gap or inversion shows."""

    subject: UUID
    trail: str
    number: int
    small: int = 0
    whole: int = 0
    several: tuple[int, ...] = ()


@record
class Count:
    """How many events each clinic sent."""

    clinic: str
    events: int


class Probe:
    """A projection whose function fails when it is told to: ``broken`` holds statuses that raise."""

    def __init__(self, settings: Settings) -> None:
        self.broken: set[str] = set()
        self.odd: dict[str, Any] = {}
        self.odd_column = "number"
        self.projection = Projection(name=f"probe_{secrets.token_hex(3)}", version=1, scope=Scope.CLUSTER)
        declare_trail = self.projection.table(key=("subject",))
        declare_trail(Trail)
        self.projection.counter(key=("clinic",), sums=("events",), name="counts")(Count)
        self.projection.on(ResourceRecorded, Trail)(self._trail)
        self.projection.count(ResourceRecorded, Count)(lambda event, meta: [Count(clinic=meta.clinic, events=1)])
        name = self.projection.name
        self.tables = (
            f"CREATE TABLE {name} (subject uuid PRIMARY KEY, trail text NOT NULL,"
            " number bigint NOT NULL CHECK (number < 1000000),"
            " small smallint NOT NULL, whole integer NOT NULL, several integer[] NOT NULL);"
            "CREATE TABLE counts (clinic text, events bigint NOT NULL, shard smallint, PRIMARY KEY (clinic, shard))"
        )
        with psycopg.connect(settings.admin_dsn(settings.database("cluster"))) as connection:
            connection.execute(f'SET ROLE "{settings.role("rebuilder")}"')
            create_projection(
                connection,
                self.projection,
                tables=self.tables,
                reads=None,
                roles=postgres.roles_of(settings),
            )

    def _trail(self, row: Trail | None, event: ResourceRecorded, meta: Meta) -> Trail:
        if event.status in self.broken:
            raise LookupError(f"the probe was told to fail: {event.status}")
        row = row or Trail(subject=meta.subject, trail="", number=0)
        changed = {"number": meta.seq}
        if event.status in self.odd:
            changed[self.odd_column] = self.odd[event.status]
        return replace(row, trail=f"{row.trail}{event.status};", **changed)


def trails(settings: Settings, probe: Probe) -> dict[UUID, tuple[str, bool]]:
    """Per subject the trail, and whether the read view calls it incomplete."""
    with psycopg.connect(settings.dsn_for("cluster", "auditor")) as connection:
        rows = connection.execute(f"SELECT subject, trail, incomplete FROM read.{probe.projection.name}")
        return {subject: (trail, incomplete) for subject, trail, incomplete in rows}


def counted(settings: Settings, probe: Probe) -> dict[str, int]:
    """The counter, by clinic."""
    with psycopg.connect(settings.dsn_for("cluster", "auditor")) as connection:
        return dict(connection.execute(f"SELECT clinic, events FROM read.{probe.projection.name}_counts").fetchall())


# A worker without Kafka


class Desk:
    """A worker that is handed its records: what the consumer group would do, the test does."""

    def __init__(self, settings: Settings, log: MemoryLog, consumers: Sequence[Consumer]) -> None:
        self.log = log
        self.consumers = list(consumers)
        self.database = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
        self.store = PostgresStore(self.database)
        self.decoder = Decoder(codec(), log.keys, self.consumers)
        self.worker = Worker(
            settings,
            self.consumers,
            store=self.store,
            decoder=self.decoder,
            missing=log.missing,
        )
        self.at = 0

    def seek(self, _: Any, offset: int) -> None:
        """What the worker asks of its consumer."""
        self.at = offset

    def take(self) -> int:
        """Be given the partition; where the worker wants to read on."""
        self.worker.assigned(self, [self.log.partition])
        return self.at

    def deliver(self, records: Iterable[Record]) -> None:
        """One batch."""
        self.worker._apply(self.worker._read(list(records)))

    def follow(self, batch: int = 100) -> None:
        """Take the partition and read to its end."""
        for at in range(self.take(), len(self.log.records), batch):
            self.deliver(self.log.records[at : at + batch])

    def heal(self) -> None:
        """What the worker does now and then: fetch what is missing."""
        self.worker._heal()

    def close(self) -> None:
        self.database.close()


# Bundles


def patient(own_id: str = "p1", *, number: str = "", family: str = "Meier", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"resourceType": "Patient", "id": own_id, "name": [{"family": family, "given": ["Ada"]}]}
    if number:
        made["identifier"] = [{"system": "urn:numbers", "value": number}]
    return made | {"birthDate": "1971-03-04"} | more


def condition(own_id: str = "c1", verification: str = "provisional", to: str = "Patient/p1") -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": own_id,
        "verificationStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": verification}]
        },
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "C50.4"}]},
        "subject": {"reference": to},
    }


def observation(own_id: str = "o1", value: float = 1, to: str = "Patient/p1") -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": own_id,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": to},
        "valueQuantity": {"value": value, "unit": "kg"},
    }


def bundle(*resources: dict[str, Any], delete: tuple[str, ...] = ()) -> bytes:
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
        if "id" in r
        else {"resource": r, "request": {"method": "POST", "url": r["resourceType"]}}
        for r in resources
    ]
    entries += [{"request": {"method": "DELETE", "url": url}} for url in delete]
    return json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}).encode()


# The whole way, in threads


class Pipeline:
    """Intake, relay and worker of an installation, all in this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.relay = Relay(settings, list(services()))
        self.worker = assembly.worker(settings)
        self.intake = assembly.intake(settings, lambda name, _: self.relay.wake(name))
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, name="worker")
        self._ends = KafkaConsumer(**settings.kafka("worker"), enable_auto_commit=False, group_id=None)
        self._places = [TopicPartition(settings.topic(), p) for p in range(settings.partitions)]

    def _work(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            self._errors.append(error)

    def __enter__(self) -> Pipeline:
        self.relay.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.relay.stop()
        self._thread.join()
        self._ends.close(autocommit=False)

    def send(self, raw: bytes, *, clinic: str = "charite/gyn") -> Receipt:
        """Take a message in."""
        return self.intake.receive(raw, operator=clinic.split("/")[0], clinic=clinic, door="test")

    def wait(self, seconds: float = 60) -> None:
        """Until everything in the journals is in the read models."""
        wait_until(self._relayed, "everything is on the log", seconds)
        ends = {p.partition: end for p, end in self._ends.end_offsets(self._places).items()}
        wait_until(lambda: self._applied(ends), "everything is applied", seconds)

    def _relayed(self) -> bool:
        behind = "SELECT 1 FROM journal.tail JOIN journal.relay USING (slice) WHERE tail.pos > relay.pos LIMIT 1"
        for name in services():
            with psycopg.connect(self.settings.dsn_for(name, "relay")) as connection:
                if connection.execute(behind).fetchone():
                    return False
        return True

    def _applied(self, ends: dict[int, int]) -> bool:
        assert not self._errors, f"the worker has ended: {self._errors[0]!r}"
        with psycopg.connect(self.settings.dsn_for("cluster", "auditor")) as connection:
            rows = connection.execute("SELECT partition, min(next_offset), count(*) FROM projection.offset GROUP BY 1")
            done = {partition: least for partition, least, _ in rows}
        return all(done.get(partition, 0) >= end for partition, end in ends.items())
