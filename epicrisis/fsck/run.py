"""One fsck from beginning to end. The ledger is read in one snapshot; journals may be ahead of it, never behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime

from epicrisis.assembly import collecting_seldom, key_store
from epicrisis.codec.envelope import Place
from epicrisis.event import SLICES
from epicrisis.found import services
from epicrisis.fsck import log, proof
from epicrisis.fsck.finding import BEGINNING, Finding, Span
from epicrisis.fsck.ledger import chains_without_events
from epicrisis.fsck.models import Models
from epicrisis.fsck.parts import Connection, Part, Reader, readers, snapshot
from epicrisis.fsck.sums import Sums, differing
from epicrisis.settings import Settings
from epicrisis.sql import queries

_SQL = queries("epicrisis.fsck")
PART = 64
"""Slices that are read at once: a part of the ledger."""
WORTH_A_PROCESS = 50_000
"""So many events are worth a process: starting one costs as much as reading 30,000."""
CHECKS = ("journals", "log", "models", "proof")


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
    workers: int | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compare everything with everything. The ledger's own chains are always recomputed.

    ``since``: only subjects with events recorded since then, and of the log only such events. ``sample``: so many
    subjects' read models, all with None, and then the counters too. ``workers``: processes that read, while this one
    looks at read models and checkpoints; with 0 it reads, too. None: as many as are worth it.
    """
    wanted, report = set(checks), Report()
    with ExitStack() as stack:
        stack.enter_context(collecting_seldom())
        ledger = stack.enter_context(snapshot(settings, "cluster"))
        until = dict(ledger.execute(_SQL["read_until"]).fetchall())
        (shared,) = ledger.execute(_SQL["share"]).fetchone() or ("",)
        if workers is None:
            workers = min(os.cpu_count() or 1, sum(until.values()) // WORTH_A_PROCESS)
        names = list(services()) if "journals" in wanted else []
        submit = stack.enter_context(readers(settings, shared, names, workers))
        logs: list[Future[log.Read]] = []
        if "log" in wanted:
            count = max(1, workers)
            logs = [submit(Reader.log, {p: o for p, o in until.items() if p % count == n}, since) for n in range(count)]
        spans = [Span(first, first + PART - 1, since) for first in range(0, SLICES, PART)]
        parts = [submit(Reader.part, span) for span in spans]
        trees: dict[int, Future[int]] = {}
        if "proof" in wanted and since is None:
            trees = {partition: submit(Reader.entries, partition) for partition in proof.partitions_of(ledger)}
        others: list[Finding] = []
        if "models" in wanted:
            on_progress("read models")
            others += _models(settings, ledger, sample, seed, report)
        if "proof" in wanted:
            on_progress("checkpoints")
            others += proof.checkpoint(ledger)
        events, leaves = Sums(), Sums()
        for span, part in zip(spans, parts, strict=True):
            on_progress(f"slices {span.first} to {span.last} of {SLICES}")
            _add(part.result(), report, events, leaves)
        if since is None:
            report.findings += chains_without_events(ledger)
        report.notes += _waiting(ledger)
        report.findings += others
        if "proof" in wanted:
            entries = Sums({partition: tree.result() for partition, tree in trees.items()})
            suspects = range(settings.partitions) if since else differing(leaves, entries)
            report.findings += proof.details(ledger, settings.partitions, suspects) if suspects else ()
        if "log" in wanted:
            on_progress("log")
            report.findings += _log(settings, ledger, until, since, events, [one.result() for one in logs], report)
    return report


def _add(part: Part, report: Report, events: Sums, leaves: Sums) -> None:
    report.findings += part.findings
    report.subjects += part.subjects
    report.events += part.events
    report.behind += part.behind
    events.update(part.events_sum)
    leaves.update(part.leaves_sum)


def _waiting(ledger: Connection) -> Iterator[str]:
    for source, count in ledger.execute(_SQL["waiting"]):
        yield f"{count} events of {source} wait for others before the ledger: `epicrisis parked list`"


def _log(
    settings: Settings,
    ledger: Connection,
    until: dict[int, int],
    since: datetime | None,
    events: Sums,
    parts: Sequence[log.Read],
    report: Report,
) -> Iterator[Finding]:
    sums, garbage = Sums(), set[log.Garbage]()
    for part in parts:
        sums.update(part.sums)
        garbage.update(part.garbage)
        report.records += part.events
        for partition in part.missing:
            yield Finding(check="log", problem="it ends before the ledger has read it", place=f"partition {partition}")
    theirs = log.Details({}, [])
    slices = differing(events, sums)
    if slices:
        theirs = log.events_of(settings, slices, until, since)
        garbage.update(theirs.garbage)
    aside = set(ledger.execute(_SQL["set_aside"], {"topic": settings.topic()}).fetchall())
    for partition, offset, reason in sorted(garbage):
        if (partition, offset) not in aside:
            place = f"partition {partition} offset {offset}"
            yield Finding(check="log", problem=f"no event, and not set aside: {reason}", place=place)
    yield from log.details(_events(ledger, slices, since), theirs.events)


def _events(ledger: Connection, slices: Collection[int], since: datetime | None) -> dict[Place, bytes]:
    """The ledger's events of some slices."""
    found: dict[Place, bytes] = {}
    for slice_ in slices:
        cur = ledger.execute(_SQL["slice"], {"slice": slice_, "since": since or BEGINNING}, binary=True)
        found.update(((subject, source, seq), digest) for subject, source, seq, digest in cur)
    return found


def _models(settings: Settings, ledger: Connection, sample: int | None, seed: str, report: Report) -> list[Finding]:
    found: list[Finding] = []
    with closing(key_store(settings, "auditor")) as keys, ledger.cursor(binary=True) as cur:
        models = Models(cur, keys, sums=sample is None)
        subjects = [s for (s,) in cur.execute(_SQL["sample"], {"seed": seed, "limit": sample}).fetchall()]
        for subject in subjects:
            found += models.beside(subject)
        found += models.totals()
        report.compared, report.erased = models.compared, models.erased
        report.notes += [f"{name}: another version is live, not compared" for name in models.other]
        if models.erased:
            report.notes.append(f"{models.erased} subjects are erased: their rows cannot be folded, not compared")
    return found
