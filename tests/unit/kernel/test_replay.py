"""Replay: what cannot be read is shown for what it is, and never left out in silence."""

from __future__ import annotations

from uuid import uuid4

import pytest

from epicrisis.assembly import codec
from epicrisis.codec import MemoryKeyStore
from epicrisis.errors import Refused
from epicrisis.event import replace
from epicrisis.found import projections
from epicrisis.ledger import Entry
from epicrisis.replay import facts, through, timeline
from tests.kernel_support import START, MemoryLog, note

CHART = projections()["cluster_chart"]


def told(damaged: bool) -> tuple[list[Entry], MemoryKeyStore]:
    """Three events of a subject, the second one perhaps with a flipped bit in its sealed body."""
    keys, subject = MemoryKeyStore(), uuid4()
    log = MemoryLog(keys)
    values = [log.add(subject, replace(note(), resource_id=str(uuid4()))).value or b"" for _ in range(3)]
    if damaged:
        values[1] = values[1][:-1] + bytes([values[1][-1] ^ 1])
    return [Entry(n, "chart", n, START, b"", value) for n, value in enumerate(values, 1)], keys


def test_an_event_that_cannot_be_read_is_not_called_erased() -> None:
    entries, keys = told(damaged=True)
    what = [line["what"] for line in timeline(facts(entries, codec(), keys))]
    assert what == ["final", "(cannot be read: seal_broken)", "final"]


def test_rows_are_refused_where_an_event_they_rest_on_cannot_be_read() -> None:
    entries, keys = told(damaged=True)
    with pytest.raises(Refused, match=r"event 2 .*\(chart.ResourceRecorded\) cannot be read: seal_broken"):
        through(CHART, facts(entries, codec(), keys))
    other = projections()["clinic_referrals"]
    assert not any(through(other, facts(entries, codec(), keys)).values())


def test_an_erased_history_has_no_rows_and_no_words() -> None:
    entries, _ = told(damaged=False)
    gone = MemoryKeyStore()
    assert {line["what"] for line in timeline(facts(entries, codec(), gone))} == {"(erased)"}
    assert not any(through(CHART, facts(entries, codec(), gone)).values())
