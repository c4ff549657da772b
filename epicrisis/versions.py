"""The versions of a subject's resources, read off its history alone: the chart's fold says which events hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any, NamedTuple

from epicrisis.event import Meta
from epicrisis.fhir.provenance import Origin
from epicrisis.found import projection
from epicrisis.replay import Fact, through

CHART = "cluster_chart"
_WRONG = b'"entered-in-error"'


class Version(NamedTuple):
    """One version of a resource, and the event that holds it. ``gone``: it says nothing but that there is none."""

    resource_type: str
    id: str
    number: int
    fact: Fact
    gone: bool


def rows_of(history: Iterable[Fact]) -> list[Any]:
    """The chart after this history: a row per resource and service that kept it, in the order of their versions."""
    rows = through(projection(CHART), history)[CHART]
    return sorted(rows, key=lambda row: (row.recorded, row.source))


def versions(history: Sequence[Fact]) -> Iterator[Version]:
    """Every version of every resource in this history, numbered over all services that kept the resource."""
    facts = {(fact.meta.source, fact.meta.seq): fact for fact in history}
    before: dict[Any, int] = {}
    for row in rows_of(history):
        first = before.get(row.resource_id, 0) + 1
        before[row.resource_id] = first - 1 + len(row.seqs)
        for number, seq in enumerate(row.seqs, first):
            fact = facts[row.source, seq]
            newest = seq == row.seqs[-1]
            gone = is_gone(getattr(fact.body, "resource", b""), retracted=row.retracted and newest)
            yield Version(row.resource_type, str(row.resource_id), number, fact, gone)


def is_gone(raw: bytes, *, retracted: bool) -> bool:
    """Whether a version says nothing but that the resource was a mistake. One that was sent so is shown."""
    return not raw or (retracted and _WRONG not in raw)


def current(recorded: Sequence[datetime], begin: datetime, end: datetime) -> list[bool]:
    """Which versions, recorded at these moments (oldest first), were current at some moment from begin to end (excl.).

    FHIR's ``_at``: https://hl7.org/fhir/R4/http.html#history
    """
    followed = zip_longest(recorded, recorded[1:])
    return [at < end and (over is None or over > begin) for at, over in followed]


def origin_of(meta: Meta, n: int) -> Origin:
    """Where an event comes from."""
    return Origin(
        subject=meta.subject,
        n=n,
        event=meta.id,
        type=meta.type,
        stream=meta.stream,
        source=meta.source,
        seq=meta.seq,
        operator=meta.operator,
        clinic=meta.clinic,
        effective=meta.effective,
        recorded=meta.recorded,
        message=meta.message,
    )
