"""The ledger by subject: every chain recomputed over the sealed values, every number without a gap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from epicrisis.audit.chain import first_link
from epicrisis.fsck.finding import Finding, Span
from epicrisis.fsck.sums import Sums, mark, number
from epicrisis.slices import partition_of, slice_of
from epicrisis.sql import queries

_SQL = queries("epicrisis.fsck")
FETCH = 500
"""So many values are in memory at a time."""
Streams = dict[str, list[tuple[int, bytes]]]
"""Per service the subject's events: seq and SHA-256 of the value, in order."""


class Known(NamedTuple):
    """A subject's events as the ledger has them, by service; ``recent``: the services with events since the moment."""

    subject: bytes
    streams: Streams
    recent: set[str]


class Ledger:
    """A part of the ledger, read by subject.

    ``events`` sums, by slice, the events since the moment with their places: subject, service and seq; ``leaves``, by
    partition, what must be an entry of its tree, with its place there.
    """

    def __init__(self, connection: psycopg.Connection[Any], partitions: int, found: list[Finding]) -> None:
        self._connection, self._partitions, self._found = connection, partitions, found
        self.events, self.leaves = Sums(), Sums()

    def walk(self, span: Span) -> Iterator[Known]:
        """Every subject of these slices, in order; what is wrong with its chain goes into ``found``."""
        with self._connection.cursor(name="fsck_ledger", binary=True) as cur:
            cur.itersize = FETCH
            cur.execute(_SQL["subjects"], span.parameters(), binary=True)
            for subject, rows in groupby(cur, key=itemgetter(0)):
                yield self._checked(subject, rows)

    def _checked(self, subject: bytes, rows: Iterable[Any]) -> Known:
        who = UUID(bytes=subject)
        streams: Streams = {}
        since: set[str] = set()
        link, wrong = first_link(who), False
        own_slice, stands = slice_of(who), False
        for expected, (_, n, source, seq, slice_, leaf, kept, value, recent, stands) in enumerate(rows, 1):  # noqa: B007
            digest = sha256(value).digest()
            link = sha256(link + digest).digest()
            if not wrong and (n != expected or kept != link or slice_ != own_slice):
                wrong = True  # every later link differs too
                what = "a number is missing or double" if n != expected else "the chain does not hold"
                what = what if slice_ == own_slice else "it lies in another subject's slice"
                self._say(what, who, source, seq, f"event {n}")
            if recent:
                since.add(source)
                self.events[slice_] += mark(subject + number(seq) + source.encode() + digest)
            if leaf is not None:
                entry = subject + number(n) + kept
                self.leaves[partition_of(slice_, self._partitions)] += mark(number(leaf) + entry)
            stream = streams.setdefault(source, [])
            stream.append((seq, digest))
            if seq != len(stream):
                self._say("out of order, or a gap", who, source, seq)
        if not stands:
            self._say("the chain is said to stand elsewhere", who)
        return Known(subject, streams, since)

    def _say(self, problem: str, who: UUID, source: str = "", seq: int | None = None, place: str = "") -> None:
        found = Finding(check="ledger", problem=problem, place=place, subject=who, source=source, seq=seq)
        self._found.append(found)


def chains_without_events(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Subjects whose chain is said to stand somewhere, and of whom there is nothing."""
    for (subject,) in connection.execute(_SQL["no_events"]):
        yield Finding(check="ledger", problem="its events are gone", subject=subject)
