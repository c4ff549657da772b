"""Parts of an fsck, each read by one process over connections that it keeps, all in one snapshot of the ledger."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from multiprocessing import get_context
from typing import Any

import psycopg
from psycopg import sql

from epicrisis.assembly import seldom_collect
from epicrisis.fsck import log, proof
from epicrisis.fsck.finding import Finding, Span
from epicrisis.fsck.journals import Journal
from epicrisis.fsck.ledger import Ledger
from epicrisis.fsck.sums import Sums
from epicrisis.inline import Inline
from epicrisis.settings import Settings

Connection = psycopg.Connection[Any]
Submit = Callable[..., Future[Any]]
"""``(what, *given)``: a method of `Reader`, to be called by whoever reads next."""


@dataclass
class Part:
    """Some slices of the ledger, and what the journals have of them. ``behind``: events that have not come to the
    ledger yet. The sums are `Ledger`'s.
    """

    events_sum: Sums
    leaves_sum: Sums
    findings: list[Finding] = field(default_factory=list)
    subjects: int = 0
    events: int = 0
    behind: int = 0


class Reader:
    """Reads parts, in the process that it is in. ``snapshot`` is the ledger's; the journals' are later."""

    def __init__(self, settings: Settings, snapshot: str, journals: Sequence[str]) -> None:
        self._settings, self._snapshot, self._names = settings, snapshot, journals
        self._stack = ExitStack()

    @cached_property
    def _ledger(self) -> Connection:
        return self._stack.enter_context(snapshot(self._settings, "cluster", self._snapshot))

    @cached_property
    def _journals(self) -> dict[str, Connection]:
        return {name: self._stack.enter_context(snapshot(self._settings, name)) for name in self._names}

    def part(self, span: Span) -> Part:
        """These slices: the ledger, with the journals beside it."""
        found: list[Finding] = []
        ledger = Ledger(self._ledger, self._settings.partitions, found)
        part = Part(ledger.events, ledger.leaves, found)
        journals = [Journal(name, connection, span, found) for name, connection in self._journals.items()]
        for known in ledger.walk(span):
            part.subjects += 1
            part.events += sum(map(len, known.streams.values()))
            for journal in journals:
                journal.beside(known)
            unknown = known.streams.keys() - self._journals.keys() if journals else ()
            for source in sorted(unknown):
                found.append(Finding(check="journals", problem="there is no such service", source=source))
        for journal in journals:
            journal.rest()
            part.behind += journal.behind
        return part

    def entries(self, partition: int) -> int:
        """The sum over the entries of a partition's tree."""
        return proof.sum_of(self._ledger, partition)

    def log(self, until: Mapping[int, int], since: datetime | None) -> log.Read:
        """Some partitions of the log."""
        return log.read(self._settings, until, since)

    def close(self) -> None:
        """Give the connections back."""
        self._stack.close()


@contextmanager
def readers(settings: Settings, snapshot: str, journals: Sequence[str], processes: int) -> Iterator[Submit]:
    """So many processes that read; with none, whoever submits reads on the spot."""
    given = settings, snapshot, journals
    if not processes:
        with closing(Reader(*given)) as here:
            yield lambda what, *of: Inline().submit(what, here, *of)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_begin, initargs=given)
    try:
        yield lambda what, *of: pool.submit(_call, what, *of)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def snapshot(settings: Settings, database: str, exported: str | None = None) -> Iterator[Connection]:
    """A connection of the auditor's that sees what was there when it was first asked, or what another one sees."""
    with psycopg.connect(settings.dsn_for(database, "auditor"), application_name="epicrisis fsck") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if exported is not None:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(exported))
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # others take as long as they take
        connection.execute("SET LOCAL work_mem = '64MB'")
        connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        yield connection


_reader: list[Reader] = []
"""This process's own, where it is one of the `readers`."""


def _begin(settings: Settings, snapshot: str, journals: Sequence[str]) -> None:
    seldom_collect()
    _reader.append(Reader(settings, snapshot, journals))
    atexit.register(_reader[0].close)


def _call(what: Callable[..., Any], *given: Any) -> Any:
    return what(_reader[0], *given)
