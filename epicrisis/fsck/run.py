"""One fsck from beginning to end. The ledger is read in one snapshot; journals may be ahead of it, never behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from typing import Any

import psycopg

from epicrisis.assembly import key_store
from epicrisis.event import SLICES
from epicrisis.found import services
from epicrisis.fsck import log, proof
from epicrisis.fsck.finding import BEGINNING, Finding, Span
from epicrisis.fsck.journals import Journal
from epicrisis.fsck.ledger import Sums, chains_without_events, walk
from epicrisis.fsck.models import Models
from epicrisis.settings import Settings
from epicrisis.sql import queries
from epicrisis.worker import Inline

_SQL = queries("epicrisis.fsck")
PART = 64
"""Slices that are read at once: a part of the ledger."""
CHECKS = ("journals", "log", "models", "proof")

Connection = psycopg.Connection[Any]


@dataclass
class Report:
    """What was looked at, and what was found. ``behind``: events that have not come to the ledger yet."""

    findings: list[Finding] = field(default_factory=list)
    subjects: int = 0
    events: int = 0
    behind: int = 0
    records: int = 0
    compared: int = 0
    erased: int = 0
    notes: list[str] = field(default_factory=list)


def fsck(
    settings: Settings,
    checks: Iterable[str] = CHECKS,
    *,
    since: datetime | None = None,
    sample: int | None = 200,
    seed: str = "",
    workers: int = 2,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compare everything with everything. The ledger's own chains are always recomputed.

    ``since``: only subjects with events recorded since then, and of the log only such events. ``sample``: so many
    subjects' read models, all with None, and then the counters too. ``workers``: processes that read the log beside
    this one, 0 for none.
    """
    wanted, report = set(checks), Report()
    with ExitStack() as stack:
        ledger = stack.enter_context(_snapshot(settings, "cluster", "auditor"))
        until = dict(ledger.execute(_SQL["read_until"]).fetchall())
        readers: list[Future[log.Read]] = []
        if "log" in wanted:
            pool = stack.enter_context(_processes(workers))
            shares = [{p: o for p, o in until.items() if p % max(1, workers) == n} for n in range(max(1, workers))]
            readers = [pool.submit(log.read, settings, share, since) for share in shares]
        sums = _ledger(settings, ledger, "journals" in wanted, since, report, on_progress)
        if "models" in wanted:
            on_progress("read models")
            _models(settings, ledger, sample, seed, report)
        if "proof" in wanted:
            on_progress("checkpoints")
            report.findings += proof.beside(ledger, settings.partitions)
        if "log" in wanted:  # last: it is being read meanwhile
            on_progress("log")
            report.findings += _log(settings, ledger, until, since, sums, [r.result() for r in readers], report)
    return report


def _processes(workers: int) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else Inline()


@contextmanager
def _snapshot(settings: Settings, database: str, role: str) -> Iterator[Connection]:
    with psycopg.connect(settings.dsn_for(database, role), application_name="epicrisis fsck") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # meanwhile the log is read
        yield connection


def _ledger(
    settings: Settings,
    ledger: Connection,
    beside: bool,
    since: datetime | None,
    report: Report,
    on_progress: Callable[[str], None],
) -> Sums:
    """The ledger, with the journals beside it if wanted."""
    sums = Sums()
    ledger.execute("SELECT 1")  # the snapshot is taken here: the journals' later ones have all that it has
    with ExitStack() as stack:
        names = list(services()) if beside else []
        connections = {name: stack.enter_context(_snapshot(settings, name, "auditor")) for name in names}
        for first in range(0, SLICES, PART):
            on_progress(f"slices {first} to {first + PART - 1} of {SLICES}")
            span = Span(first, first + PART - 1, since)
            journals = [Journal(name, connection, span, report.findings) for name, connection in connections.items()]
            for known in walk(ledger, span, sums, report.findings):
                report.subjects += 1
                report.events += sum(map(len, known.streams.values()))
                for journal in journals:
                    journal.beside(known)
                unknown = known.streams.keys() - set(names) if beside else ()
                for source in sorted(unknown):
                    report.findings.append(Finding(check="journals", problem="there is no such service", source=source))
            for journal in journals:
                journal.rest()
                report.behind += journal.behind
    if since is None:
        report.findings += chains_without_events(ledger)
    for source, count in ledger.execute(_SQL["waiting"]):
        report.notes.append(f"{count} events of {source} wait for others before the ledger: `epicrisis parked list`")
    return sums


def _log(
    settings: Settings,
    ledger: Connection,
    until: dict[int, int],
    since: datetime | None,
    sums: Sums,
    parts: list[log.Read],
    report: Report,
) -> Iterator[Finding]:
    whole = Sums()
    for part in parts:
        whole.sums.update(part.sums)
        whole.counts.update(part.counts)
        for partition in part.missing:
            yield Finding(check="log", problem="it ends before the ledger has read it", place=f"partition {partition}")
    report.records = sum(whole.counts.values())
    aside = set(ledger.execute(_SQL["set_aside"], {"topic": settings.topic()}).fetchall())
    for partition, offset, reason in [record for part in parts for record in part.garbage]:
        if (partition, offset) not in aside:
            place = f"partition {partition} offset {offset}"
            yield Finding(check="log", problem=f"no event, and not set aside: {reason}", place=place)
    if slices := sums.differ(whole):
        theirs = log.events_of(settings, slices, until, since)
        ours: dict[log.Place, bytes] = {}
        for slice_ in slices:
            cur = ledger.execute(_SQL["slice"], {"slice": slice_, "since": since or BEGINNING}, binary=True)
            ours.update(((subject, source, seq), digest) for subject, source, seq, digest in cur)
        yield from log.details(ours, theirs)


def _models(settings: Settings, ledger: Connection, sample: int | None, seed: str, report: Report) -> None:
    with closing(key_store(settings, "auditor")) as keys, ledger.cursor(binary=True) as cur:
        models = Models(cur, keys, sums=sample is None)
        subjects = [s for (s,) in cur.execute(_SQL["sample"], {"seed": seed, "limit": sample}).fetchall()]
        for subject in subjects:
            report.findings += models.beside(subject)
        report.findings += models.totals()
        report.compared, report.erased = models.compared, models.erased
        report.notes += [f"{name}: another version is live, not compared" for name in models.other]
        if models.erased:
            report.notes.append(f"{models.erased} subjects are erased: their rows cannot be folded, not compared")
