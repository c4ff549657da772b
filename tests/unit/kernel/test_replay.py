"""Replay: what cannot be read is shown for what it is, and never left out in silence."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from uuid import uuid4

import pytest

from epicrisis.assembly import codec
from epicrisis.codec import MemoryKeyStore
from epicrisis.errors import Refused
from epicrisis.event import Meta, replace
from epicrisis.found import projections
from epicrisis.ledger import Entry
from epicrisis.replay import Fact, When, differences, explained, facts, folded, seen_by, subject_of, through, timeline
from epicrisis.versions import current, versions
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


def amended() -> list[Fact]:
    """A resource in three versions, a day apart; the second was true a year before it was recorded. And another."""
    keys, subject, first, second = MemoryKeyStore(), uuid4(), uuid4(), uuid4()
    log = MemoryLog(keys)
    values = [log.add(subject, replace(note(), resource_id=str(first), status=s)).value or b"" for s in "abc"]
    values.append(log.add(subject, replace(note(), resource_id=str(second))).value or b"")
    found = list(facts([Entry(n, "chart", n, START, b"", value) for n, value in enumerate(values, 1)], codec(), keys))
    return [dataclasses.replace(fact, meta=moved(fact.meta, n)) for n, fact in enumerate(found)]


def moved(meta: Meta, days: int) -> Meta:
    recorded = START + timedelta(days=days)
    return replace(meta, recorded=recorded, effective=recorded - timedelta(days=365 if days == 1 else 0))


def test_a_history_is_cut_by_either_time() -> None:
    day = START + timedelta(days=1)
    history = amended()
    assert [f.n for f in history if When(known_at=day).covers(f.meta)] == [1, 2]
    assert [f.n for f in history if When(as_of=START - timedelta(days=1)).covers(f.meta)] == [2]
    assert [f.n for f in history if When(as_of=START, known_at=START).covers(f.meta)] == [1]
    assert str(When(as_of=START, known_at=day)) == f"true by {START.isoformat()}, known at {day.isoformat()}"
    assert str(When()) == "all that is known"


def test_the_difference_between_two_moments_is_told_by_column() -> None:
    history = amended()
    changes = list(differences(CHART, through(CHART, history[:1]), through(CHART, history)))
    told = {(c["change"], c["column"]): (c["before"], c["after"]) for c in changes}
    assert told["changed", "status"] == ("a", "c")
    assert told["changed", "version"] == (1, 3)
    assert told["added", "status"][0] is None
    assert {c["change"] for c in differences(CHART, through(CHART, history), through(CHART, history[:1]))} == {
        "changed",
        "removed",
    }
    assert not list(differences(CHART, through(CHART, history), through(CHART, history)))


def test_a_row_is_explained_by_the_events_that_made_it() -> None:
    history = amended()
    wanted = {"resource_id": history[0].body.resource_id}
    told = list(explained(CHART, history, wanted))
    assert [(f.n, c["before"], c["after"]) for f, c in told if c["column"] == "status"] == [
        (1, None, "a"),
        (2, "a", "b"),
        (3, "b", "c"),
    ]
    assert {f.n for f, _ in explained(CHART, history)} == {1, 2, 3, 4}
    assert not list(explained(CHART, history, {"resource_id": "another"}))


def test_what_is_explained_adds_up_to_the_row() -> None:
    history = amended()
    for row in through(CHART, history)["cluster_chart"]:
        made = {}
        for _, change in explained(CHART, history, {"resource_id": str(row.resource_id)}):
            made[change["column"]] = change["after"]
        assert made == {c: getattr(row, c) for c in made}
        assert {"status", "version", "seqs"} <= set(made)


def test_every_row_knows_the_event_that_shaped_it_last() -> None:
    history = amended()
    made = folded(CHART, history)
    table = next(iter(CHART.tables.values()))
    by = {row.version: made.shaped[table.name, table.key_of(row)] for row in made.rows[table.name]}
    assert by == {3: 3, 1: 4}
    early = folded(CHART, history[:2])
    assert set(early.shaped.values()) == {2}
    explained_by = {change["key"]["resource_id"]: fact.n for fact, change in explained(CHART, history)}
    assert set(explained_by.values()) == {3, 4}


def test_an_operator_had_seen_what_it_sent_and_what_it_was_given() -> None:
    one, two, three, four = amended()
    other = dataclasses.replace(two, meta=replace(two.meta, operator="other"))
    third = dataclasses.replace(three, meta=replace(three.meta, operator="other"))
    looked = dataclasses.replace(four, meta=replace(four.meta, source="access_audit"))
    given = {("chart", other.meta.seq): START + timedelta(days=9), ("chart", one.meta.seq): START + timedelta(days=5)}
    found = list(seen_by([one, other, third, looked], one.meta.operator, given))
    assert [(fact.n, fact.seen) for fact in found] == [(1, one.meta.recorded), (2, START + timedelta(days=9))]
    assert [line["seen"] for line in timeline(found)] == [one.meta.recorded, START + timedelta(days=9)]
    assert list(seen_by([other], "nobody", {})) == []


def test_versions_are_numbered_over_everything_that_was_known() -> None:
    found = sorted((v.fact.n, v.number, v.gone) for v in versions(amended()))
    assert found == [(1, 1, False), (2, 2, False), (3, 3, False), (4, 1, False)]


def test_which_versions_were_current_at_some_moment() -> None:
    days = [START + timedelta(days=n) for n in range(6)]
    recorded = [days[1], days[3], days[3], days[4]]
    assert current(recorded, days[0], days[1]) == [False] * 4
    assert current(recorded, days[0], days[2]) == [True, False, False, False]
    assert current(recorded, days[2], days[3]) == [True, False, False, False]
    assert current(recorded, days[3], days[4]) == [False, False, True, False]
    assert current(recorded, days[2], days[5]) == [True, True, True, True]
    assert current([], days[0], days[1]) == []


def test_a_patient_is_named_by_a_uuid_and_whoever_names_something_else_is_told() -> None:
    subject = uuid4()
    assert subject_of(str(subject)) == subject_of(f"Patient/{subject}") == subject
    with pytest.raises(Refused, match="by its cluster id"):
        subject_of("Patient/p1")
