"""The ledger by subject: every chain recomputed over the sealed values, every number without a gap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from epicrisis.audit.chain import first_link
from epicrisis.fsck.finding import Finding, Span
from epicrisis.slices import slice_of
from epicrisis.sql import queries

_SQL = queries("epicrisis.fsck")
FETCH = 5_000
Streams = dict[str, list[tuple[int, bytes]]]
"""Per service the subject's events: seq and SHA-256 of the value, in order."""


class Known(NamedTuple):
    """A subject's events as the ledger has them, by service; ``recent``: the services with events since the moment."""

    subject: bytes
    streams: Streams
    recent: set[str]


class Sums:
    """A sum over events per slice: equal where the events are equal, in whatever order they come.

    Each event is hashed with its place, and the hashes are added modulo 2^256 (AdHash).
    """

    def __init__(self) -> None:
        self.sums: defaultdict[int, int] = defaultdict(int)
        self.counts: defaultdict[int, int] = defaultdict(int)

    def add(self, slice_: int, subject: bytes, source: str, seq: int, digest: bytes) -> None:
        """One event."""
        place = subject + seq.to_bytes(8, "big") + source.encode()
        self.sums[slice_] = (self.sums[slice_] + int.from_bytes(sha256(place + digest).digest(), "big")) % 2**256
        self.counts[slice_] += 1

    def differ(self, other: Sums) -> list[int]:
        """The slices in which these two differ."""
        slices = self.sums.keys() | other.sums.keys()
        return sorted(s for s in slices if (self.sums[s], self.counts[s]) != (other.sums[s], other.counts[s]))


def walk(connection: psycopg.Connection[Any], span: Span, sums: Sums, found: list[Finding]) -> Iterator[Known]:
    """Every subject of these slices, in order; what is wrong with its chain goes into ``found``.

    The connection is in a transaction of one snapshot.
    """
    with connection.cursor(name="fsck_ledger", binary=True) as cur:
        cur.itersize = FETCH
        cur.execute(_SQL["subjects"], span.parameters(), binary=True)
        for subject, rows in groupby(cur, key=itemgetter(0)):
            yield _checked(subject, list(rows), sums, found)


def _checked(subject: bytes, rows: list[Any], sums: Sums, found: list[Finding]) -> Known:
    who = UUID(bytes=subject)
    streams: Streams = {}
    since: set[str] = set()
    link, wrong = first_link(who), False
    own_slice = slice_of(who)
    for expected, (_, n, source, seq, slice_, digest, kept, recent, _, _) in enumerate(rows, 1):
        link = sha256(link + digest).digest()
        if not wrong and (n != expected or kept != link or slice_ != own_slice):
            wrong = True  # every later link differs too
            what = "a number is missing or double" if n != expected else "the chain does not hold"
            what = what if slice_ == own_slice else "it lies in another subject's slice"
            found.append(Finding(check="ledger", problem=what, place=f"event {n}", subject=who, source=source, seq=seq))
        if recent:
            since.add(source)
            sums.add(slice_, subject, source, seq, digest)
        stream = streams.setdefault(source, [])
        stream.append((seq, digest))
        if seq != len(stream):
            found.append(Finding(check="ledger", problem="out of order, or a gap", subject=who, source=source, seq=seq))
    _, last, _, _, _, _, kept, _, head, head_link = rows[-1]
    if (head, head_link) != (last, kept):
        found.append(Finding(check="ledger", problem="the chain is said to stand elsewhere", subject=who))
    return Known(subject, streams, since)


def chains_without_events(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Subjects whose chain is said to stand somewhere, and of whom there is nothing."""
    for (subject,) in connection.execute(_SQL["no_events"]):
        yield Finding(check="ledger", problem="its events are gone", subject=subject)
