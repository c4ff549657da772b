"""The seq rule, for any delivery: duplicates, inversions, losses, several services of a subject."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.event import Meta
from epicrisis.projecting.delivery import Delivered
from epicrisis.projecting.positions import GAP, Positions

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPACE = UUID(int=7)
SUBJECTS = [UUID(int=n) for n in range(3)]
PLACES = st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(["chart", "diagnosis"]), st.integers(1, 6))


def delivered(subject: UUID, source: str, seq: int) -> Delivered:
    meta = Meta(
        id=uuid5(SPACE, f"{subject}{source}{seq}"),
        type="chart.ResourceRecorded",
        version=1,
        source=source,
        operator="o",
        clinic="o/c",
        subject=subject,
        seq=seq,
        stream="x",
        effective=NOW,
        recorded=NOW,
    )
    return Delivered(0, 0, meta, b"")


def place(item: Delivered) -> tuple[UUID, str, int]:
    return item.meta.subject, item.meta.source, item.meta.seq


@given(st.lists(PLACES, max_size=40), st.sets(st.sampled_from(SUBJECTS)))
def test_whatever_is_delivered_each_event_is_applied_at_most_once_and_in_order(
    sent: list[tuple[UUID, str, int]], parked: set[UUID]
) -> None:
    positions = Positions({("p", SUBJECTS[0]): {"chart": 2}}, {("p", subject) for subject in parked})
    apply, wait = positions.admit("p", [delivered(*one) for one in sent])
    last = {(SUBJECTS[0], "chart"): 2}
    for item in apply:
        at = (item.meta.subject, item.meta.source)
        assert item.meta.seq == last.get(at, 0) + 1
        last[at] = item.meta.seq
        assert item.meta.subject not in parked
    waiting = {failure.delivered.meta.subject for failure in wait}
    for subject, source, seq in sent:
        assert seq <= last.get((subject, source), 0) or subject in waiting


@given(st.lists(PLACES, max_size=40))
def test_once_an_event_of_a_subject_waits_no_later_one_overtakes_it(sent: list[tuple[UUID, str, int]]) -> None:
    items = [delivered(*one) for one in sent]
    apply, wait = Positions({}).admit("p", items)
    order = {id(item): n for n, item in enumerate(items)}
    for subject in SUBJECTS:
        waiting = [f for f in wait if f.delivered.meta.subject == subject]
        if waiting:
            assert waiting[0].reason == GAP
            assert all(f.reason == "queued" for f in waiting[1:])
            first = order[id(waiting[0].delivered)]
            assert all(order[id(item)] < first for item in apply if item.meta.subject == subject)


@given(st.permutations([(s, c, n) for s in SUBJECTS for c in ("chart", "diagnosis") for n in (1, 2, 3)]), st.data())
def test_any_interleaving_that_keeps_each_service_in_order_applies_everything(
    mixed: list[tuple[UUID, str, int]], data: st.DataObject
) -> None:
    counts: dict[tuple[UUID, str], int] = {}
    sent = []
    for subject, source, _ in mixed:
        counts[subject, source] = seq = counts.get((subject, source), 0) + 1
        sent.append((subject, source, seq))
    repeated = data.draw(st.lists(st.integers(0, len(sent) - 1), max_size=10))
    for at in sorted(repeated, reverse=True):
        sent.insert(data.draw(st.integers(at + 1, len(sent))), sent[at])
    cut = data.draw(st.integers(0, len(sent)))
    positions, applied = Positions({}), []
    for batch in (sent[:cut], sent[cut:]):
        apply, wait = positions.admit("p", [delivered(*one) for one in batch])
        assert wait == []
        positions.settle("p", apply)
        applied += [place(item) for item in apply]
    assert sorted(applied) == sorted(set(sent))


def test_what_is_missing_before_an_event_parks_only_its_subject() -> None:
    one, other = SUBJECTS[:2]
    apply, wait = Positions({}).admit("p", [delivered(one, "chart", 2), delivered(other, "chart", 1)])
    assert [place(item) for item in apply] == [(other, "chart", 1)]
    assert [(place(f.delivered), f.reason) for f in wait] == [((one, "chart", 2), GAP)]


def test_consumers_have_positions_of_their_own() -> None:
    positions = Positions({("ahead", SUBJECTS[0]): {"chart": 1}})
    item = delivered(SUBJECTS[0], "chart", 1)
    assert positions.admit("ahead", [item]) == ([], [])
    assert positions.admit("behind", [item]) == ([item], [])


@pytest.mark.parametrize(
    "order", [("ahead", "behind", "parked"), ("behind", "parked", "ahead"), ("parked", "ahead", "behind")]
)
def test_of_one_batch_each_consumer_gets_what_it_lacks(order: tuple[str, ...]) -> None:
    subject = SUBJECTS[0]
    positions = Positions({("ahead", subject): {"chart": 1}}, {("parked", subject)})
    batch = [delivered(subject, "chart", n) for n in (1, 2)]
    found = {name: positions.admit(name, batch) for name in order}
    assert [[item.meta.seq for item in found[name][0]] for name in ("ahead", "behind", "parked")] == [[2], [1, 2], []]
    assert [len(found[name][1]) for name in ("ahead", "behind", "parked")] == [0, 0, 2]
