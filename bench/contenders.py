"""Who is compared in `bench.projection`: the topics, the peers' processes, and how long each takes."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from psycopg.conninfo import conninfo_to_dict

from bench.events import Event, keys_for, send, value_of
from bench.peers.model import TABLES
from bench.plain import as_json
from bench.row import named
from bench.stage import Process
from epicrisis.assembly import key_store
from epicrisis.relay import producer
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of

PARTITIONS = 16
REQUIREMENTS = Path(__file__).parent / "peers" / "requirements.txt"
SECONDS = 80
"""So long one contender may take."""
PLAIN, QUIX = "confluent-kafka, executemany", "quixstreams, PostgreSQLSink"
WHOLE, HALVES = ("json",), ("json.even", "json.odd")


class Contender(NamedTuple):
    """Who builds the read model, and in which tables; ``archive`` is None where the archive is there already.

    One process for each thing in ``given``; each says so when it has its partitions, and waits for the others.
    """

    name: str
    command: Sequence[str]
    given: Sequence[Any]
    dsn: str
    schema: str
    archive: str | None


class Result(NamedTuple):
    """How long it took, the processor time of its processes, a digest of the rows."""

    seconds: float
    processor: float
    digest: str


def build(settings: Settings, contender: Contender, number: int) -> Result:
    """Let it build the read model of so many events, and take the time."""
    processes = [Process(settings, contender.command, given) for given in contender.given]
    try:
        began = together(processes)
        deadline = began + SECONDS
        with psycopg.connect(contender.dsn, autocommit=True) as reader:
            while set(found := _built(reader, contender)) != {number}:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{contender.name}: only {found} of {number} events after {SECONDS} s")
                for process in processes:
                    process.check()
                time.sleep(0.05)
            seconds = time.monotonic() - began
            processor = sum(process.cpu_seconds() for process in processes)
            return Result(seconds, processor, digest(reader, contender.schema))
    finally:
        for process in processes:
            process.stop(kindly=False)  # what it keeps is thrown away


def together(processes: Sequence[Process]) -> float:
    """Wait until all are ready, let them go; when that was (`time.monotonic`)."""
    for process in processes:
        if not process.line():
            process.check()
    began = time.monotonic()
    for process in processes:
        process.tell("go")
    return began


def _built(reader: psycopg.Connection[Any], contender: Contender) -> list[int]:
    """Events in the latest states, in the tallies, and in the archive."""
    sums = [
        f"(SELECT coalesce(sum(events), 0)::bigint FROM {contender.schema}.{name})" for name in ("patient", "tally")
    ]
    counts = [f"(SELECT count(*) FROM {contender.archive})"] if contender.archive else []
    row = reader.execute(f"SELECT {', '.join(sums + counts)}".encode()).fetchone()
    assert row is not None
    return list(row)


def digest(reader: psycopg.Connection[Any], schema: str) -> str:
    """Of all rows of the latest states and the tallies."""
    queries = (
        "SELECT subject::text, events, name, birth_date, last_type, last_code, last_at FROM {}.patient ORDER BY 1",
        "SELECT subject::text, type, events FROM {}.tally ORDER BY 1, 2",
    )
    made = hashlib.sha256()
    for query in queries:
        for row in reader.execute(query.format(schema).encode()):
            made.update(repr(row).encode())
    return made.hexdigest()


# The topics


@contextmanager
def topics(settings: Settings) -> Iterator[None]:
    """The peers' topics; removed at the end, with those that quixstreams made."""
    admin = KafkaAdminClient(**settings.kafka("admin"))
    names = [settings.topic(name) for name in (*WHOLE, *HALVES)]
    admin.create_topics(
        {name: {"num_partitions": PARTITIONS, "replication_factor": settings.kafka_replication} for name in names}
    )
    try:
        yield
    finally:
        admin.delete_topics([t for t in admin.list_topics() if settings.namespace in t and t != settings.topic()])
        admin.close()


def fill_topics(settings: Settings, some: Sequence[Event]) -> None:
    """Our topic with sealed records; the peers' with JSON: all of it, and the even and the odd partitions alone."""
    store = key_store(settings, "intake")
    keys = keys_for(some, store)
    store.close()
    log = producer(settings)
    for event in some:
        send(log, settings, event.meta, value_of(event, keys))
    log.flush()
    log.close()
    plain = KafkaProducer(**settings.kafka("admin"), compression_type="zstd", linger_ms=5, batch_size=512 * 1024)
    for event in some:
        partition = partition_of(slice_of(event.meta.subject), settings.partitions)
        key, value = str(event.meta.subject).encode(), as_json(event)
        for topic in (WHOLE[0], HALVES[partition % 2]):
            plain.send(settings.topic(topic), key=key, value=value, partition=partition)
    plain.flush()
    plain.close()


# The peers


def of_peer(
    settings: Settings, name: str, command: Sequence[str], names: Sequence[str], scratch: str, number: int
) -> Result:
    """A peer's result, with groups and a database of its own: a process per topic, and an archive if it is only one.

    A database, because quixstreams' sink does not know its own primary key where a table of the same name is in another
    schema.
    """
    own = f"{settings.namespace}_peer_{secrets.token_hex(3)}"
    with psycopg.connect(settings.admin_dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {own}".encode())
        try:
            with psycopg.connect(settings.admin_dsn(own)) as connection:
                connection.execute(TABLES.encode())
            return build(settings, _peer(settings, own, name, command, names, scratch), number)
        finally:
            admin.execute(f"DROP DATABASE {own} WITH (FORCE)".encode())


def _peer(
    settings: Settings, own: str, name: str, command: Sequence[str], names: Sequence[str], scratch: str
) -> Contender:
    dsn = settings.admin_dsn(own)
    parts = conninfo_to_dict(dsn)
    postgres = {field: parts[field] for field in ("host", "port", "dbname", "user", "password")}
    given = [
        {
            "kafka": librdkafka(settings.kafka("admin")),
            "topic": settings.topic(topic),
            "group": f"{own}.{topic}",
            "dsn": dsn,
            "archive": names == WHOLE,
            "postgres": postgres,
            "state": f"{scratch}/{own}.{topic}",
        }
        for topic in names
    ]
    return Contender(name, command, given, dsn, "public", "archive" if names == WHOLE else None)


def librdkafka(client: dict[str, Any]) -> dict[str, Any]:
    """kafka-python's settings in the words of librdkafka."""
    servers = client["bootstrap_servers"]
    words = {
        "bootstrap.servers": servers if isinstance(servers, str) else ",".join(servers),
        "security.protocol": client.get("security_protocol", "PLAINTEXT"),
        "sasl.mechanism": client.get("sasl_mechanism"),
        "sasl.username": client.get("sasl_plain_username"),
        "sasl.password": client.get("sasl_plain_password"),
        "ssl.ca.location": client.get("ssl_cafile"),
    }
    return {name: value for name, value in words.items() if value is not None}


def quix_python(*, make: bool = True) -> Path:
    """The Python of quixstreams' own venv: its pydantic is not the one that we are pinned to.

    Raises
    ------
    OSError
        It is not there, and was not to be made.
    """
    folder = Path(sys.prefix) / "bench-quixstreams"
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = REQUIREMENTS.read_bytes()
    if stamp.exists() and stamp.read_bytes() == wanted:
        return python
    if not make:
        raise FileNotFoundError("it has not been made here")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    subprocess.run(install, check=True)
    stamp.write_bytes(wanted)
    return python


def version_of(name: str) -> str:
    package, _, how = name.partition(", ")
    if package in ("confluent-kafka",):
        return f"{named(package)}, {how}"
    line = next(line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if line.startswith(package))
    return f"{package} {line.partition('==')[2]}, {how}"
