"""Installations of a test module's own, roles as real processes, and digests of everything that must agree."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from epicrisis.assembly import codec, key_store
from epicrisis.audit.chain import first_link, next_link
from epicrisis.found import projections, services
from epicrisis.lag import Lag
from epicrisis.projection import SHAPED_BY
from epicrisis.provision import drop, provision
from epicrisis.settings import Settings

GENEROUS = 90.0
"""Seconds: only ends a test that would never end."""


@contextmanager
def installation(servers: dict[str, Any]) -> Iterator[Settings]:
    """Databases, roles, topic and users of their own; dropped at the end."""
    settings = Settings(**servers, namespace=f"a_{secrets.token_hex(4)}")
    provision(settings)
    try:
        yield settings
    finally:
        drop(settings)
        settings.forget_secrets()


# Processes


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs to find these servers."""
    found = {"EPICRISIS_NAMESPACE": settings.namespace, "EPICRISIS_STATE": str(settings.state)}
    found["EPICRISIS_PARTITIONS"] = str(settings.partitions)
    if settings.operators is not None:
        found["EPICRISIS_OPERATORS"] = str(settings.operators)
    if settings.kafka_bootstrap is not None:
        found["EPICRISIS_KAFKA_BOOTSTRAP"] = settings.kafka_bootstrap
    for name in ("kafka_admin_password", "dsn", "wrapping_key", "checkpoint_key"):
        if (value := getattr(settings, name)) is not None:
            found[f"EPICRISIS_{name.upper()}"] = value.get_secret_value()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EPICRISIS_")}
    return {**kept, **found}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "epicrisis", *words]


def run(settings: Settings, *words: str, seconds: float = 100) -> subprocess.CompletedProcess[str]:
    """One command to its end, with what it said."""
    return subprocess.run(
        command(*words), env=environment(settings), capture_output=True, text=True, timeout=seconds, check=False
    )


class Role:
    """A command as a process that the test stops, by its pid."""

    def __init__(self, settings: Settings, *words: str) -> None:
        self._process = subprocess.Popen(
            command(*words), env=environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def to_the_end(self, seconds: float = GENEROUS) -> int:
        """Its exit code."""
        return self._process.wait(seconds)

    def send(self, sign: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, sign)

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self.alive:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def roles(settings: Settings, *commands: tuple[str, ...]) -> Iterator[list[Role]]:
    """These roles; whatever is in the list at the end is stopped."""
    running = [Role(settings, *words) for words in commands]
    try:
        yield running
    finally:
        for role in running:
            role.stop()


def wait_until(happened: Callable[[], Any], what: str, seconds: float = GENEROUS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.01)
    return found


def caught_up(settings: Settings, seconds: float = GENEROUS) -> None:
    """Wait until every read model and the ledger have everything."""
    lag = Lag(settings)
    try:
        lag.wait(seconds, ["ledger"])
    finally:
        lag.close()


# What is in the databases


def rows(settings: Settings, database: str, query: str | sql.Composable) -> list[tuple[Any, ...]]:
    """All rows, as the administrator sees them."""
    text = query.encode() if isinstance(query, str) else query
    with psycopg.connect(settings.admin_dsn(settings.database(database))) as connection:
        return connection.execute(text).fetchall()


def journal_counts(settings: Settings) -> dict[str, int]:
    """Events per journal."""
    return {name: rows(settings, name, "SELECT count(*) FROM journal.event")[0][0] for name in services()}


def journal_total(settings: Settings) -> int:
    return sum(journal_counts(settings).values())


def ledger_total(settings: Settings) -> int:
    return int(rows(settings, "cluster", "SELECT count(*) FROM ledger.event")[0][0])


def inbox_counts(settings: Settings) -> Counter[str]:
    """Messages by state."""
    return Counter(dict(rows(settings, "intake", "SELECT state, count(*)::int FROM inbox.message GROUP BY state")))


def journals(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """What every run on the same input must have in its journals: everything but times, keys and sealed bytes."""
    query = "SELECT subject, seq, id, stream, type FROM journal.event ORDER BY subject, seq"
    return {name: rows(settings, name, query) for name in services()}


def assert_no_gaps(settings: Settings) -> None:
    """In every journal, every subject's events count from one without a gap up to its head."""
    for name in services():
        bad = rows(
            settings,
            name,
            "SELECT subject FROM journal.head FULL JOIN (SELECT subject, count(*) AS n, min(seq) AS low, max(seq) AS "
            "high FROM journal.event GROUP BY subject) AS e USING (subject) "
            "WHERE low IS DISTINCT FROM 1 OR high IS DISTINCT FROM n OR head.seq IS DISTINCT FROM n",
        )
        assert not bad, f"{name}: {len(bad)} subjects with gaps"


def assert_ledger_is_the_journals(settings: Settings) -> None:
    """Every event of every journal is in the ledger exactly once, byte for byte, and every chain verifies."""
    journalled = [
        (name, subject, seq, bytes(value))
        for name in services()
        for subject, seq, value in rows(settings, name, "SELECT subject, seq, value FROM journal.event")
    ]
    heads = {s: (n, bytes(link)) for s, n, link in rows(settings, "cluster", "SELECT * FROM ledger.subject")}
    archived: list[tuple[Any, ...]] = []
    at: dict[Any, tuple[int, bytes]] = {}
    ids = set()
    query = "SELECT subject, n, source, seq, link, value FROM ledger.event ORDER BY subject, n"
    for subject, n, source, seq, link, value in rows(settings, "cluster", query):
        archived.append((source, subject, seq, bytes(value)))
        ids.add(codec().open(bytes(value)).meta.id)
        before = at.get(subject, (0, first_link(subject)))
        at[subject] = before[0] + 1, next_link(before[1], bytes(value))
        assert (n, bytes(link)) == at[subject], f"the chain of {subject} breaks at its event {n}"
    assert at == heads
    assert len(ids) == len(archived)
    assert sorted(archived) == sorted(journalled)


MOMENTS = {"updated", "recorded", SHAPED_BY}
"""Columns that hold when, and in which order of services, this installation came to know something: two runs never
agree on them.
"""
UNSAID = ("clinic_patients.last_event_at", "clinic_referrals.cancelled_at", "clinic_referrals.waiting_hours")
"""Those that come from it where the sender named no moment."""


def read_digests(settings: Settings, also_without: Sequence[str] = ()) -> dict[str, str]:
    """A digest per read view, over every column but `MOMENTS`."""
    digests = {}
    every = "SELECT viewname::text FROM pg_views WHERE schemaname = 'read' AND viewname <> 'ledger_seen'"
    views = rows(settings, "cluster", every)  # that one is the ledger: sealed bytes never agree
    assert {v for (v,) in views} >= set(projections())
    for (view,) in sorted(views):
        columns = [
            name
            for (name,) in rows(
                settings,
                "cluster",
                sql.SQL(
                    "SELECT attname::text FROM pg_attribute WHERE attrelid = {}::regclass AND attnum > 0 ORDER BY 1"
                ).format(sql.Literal(f"read.{view}")),
            )
            if name not in MOMENTS and f"{view}.{name}" not in also_without
        ]
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier("read", view)
        )
        content = sorted(repr(row) for row in rows(settings, "cluster", query))
        digests[f"{view} ({len(content)} rows)"] = hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]
    return digests


def bodies_digest(settings: Settings) -> str:
    """One digest over every event's body in the ledger, unsealed."""
    values = [bytes(v) for (v,) in rows(settings, "cluster", "SELECT value FROM ledger.event")]
    opened = [codec().open(value) for value in values]
    keys = key_store(settings, "auditor").by_ids({o.meta.key for o in opened if o.meta.key is not None})
    lines = []
    for sealed in opened:
        assert sealed.meta.key is not None
        lines.append(f"{sealed.meta.id} {codec().unseal(sealed, keys[sealed.meta.key])!r}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def synthea(shared_data: Path, *folders: str) -> list[Path]:
    """Files of the 2019 Synthea data, in order."""
    return [f for folder in folders for f in sorted((shared_data / "synthea-2019-r4" / folder).glob("*.json*"))]
