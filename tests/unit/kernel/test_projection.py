"""Projections: any batches and any order between subjects give the same rows; a failing function changes nothing."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.event import Meta, event_type, record, replace
from epicrisis.folding import Cell, Rows, apply, fold
from epicrisis.projection import Place, Projection, Scope
from schemas.registration import PatientDeathRecorded, PatientShared

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SUBJECTS = [UUID(int=n) for n in range(3)]


@record
class Row:
    clinic_id: str
    subject: UUID
    trail: str = ""


@record
class Sum:
    clinic_id: str
    events: int


def probe() -> Projection:
    projection = Projection(name="probe", version=1, scope=Scope.CLINIC)
    projection.table(key=("clinic_id", "subject"))(Row)
    projection.counter(key=("clinic_id",), sums=("events",), name="sums")(Sum)

    @projection.on(PatientShared, Row)
    def shared(row: Row | None, event: PatientShared, meta: Meta) -> Row:
        row = row or Row(clinic_id=meta.clinic, subject=meta.subject)
        if event.with_clinic == "boom":
            raise LookupError
        return replace(row, trail=f"{row.trail}{event.with_clinic};")

    @projection.on(PatientDeathRecorded, Row)
    def died(row: Row | None, event: PatientDeathRecorded, meta: Meta) -> None:
        return None

    @projection.count_any(Sum)
    def count(meta: Meta) -> list[Sum]:
        return [Sum(clinic_id=meta.clinic, events=1)]

    return projection


def one(subject: UUID, seq: int, body: Any, clinic: str = "o/c") -> tuple[Any, Meta]:
    meta = Meta(
        id=UUID(int=seq + 100),
        type=event_type(body),
        version=1,
        source="registration",
        operator="o",
        clinic=clinic,
        subject=subject,
        seq=seq,
        stream="x",
        effective=NOW,
        recorded=NOW + timedelta(seconds=seq),
    )
    return body, meta


def histories() -> st.SearchStrategy[list[tuple[Any, Meta]]]:
    bodies = st.one_of(
        st.sampled_from("abc").map(lambda c: PatientShared(patient_id="p", with_clinic=c)),
        st.just(PatientDeathRecorded(patient_id="p", deceased_at="")),
    )
    drawn = st.tuples(st.sampled_from(SUBJECTS), bodies, st.sampled_from(["o/c", "o/d"]))
    return st.lists(drawn, max_size=25).map(lambda some: [one(s, n, b, c) for n, (s, b, c) in enumerate(some, 1)])


def in_batches(projection: Projection, history: list[tuple[Any, Meta]], cuts: list[int]) -> dict[Place, Any]:
    """As a worker does it: rows are loaded, folded, written; increments are added to what is there."""
    table: dict[Place, Any] = {}
    for first, last in zip([0, *cuts], [*cuts, len(history)], strict=True):
        rows: Rows = {k: Cell(v) for k, v in table.items() if k[0] == "probe"}
        counts: dict[Place, Any] = {}
        for event, meta in history[first:last]:
            apply(projection.plan(event, meta), meta, meta.seq, rows, counts)
        table.update((place, cell.row) for place, cell in rows.items())
        for place, count in counts.items():
            increment = count.row()
            old = table.get(place)
            table[place] = replace(increment, events=increment.events + (old.events if old else 0))
    return {place: row for place, row in table.items() if row is not None}


@given(histories(), st.lists(st.integers(0, 25), max_size=4))
def test_any_batches_give_the_same_rows(history: list[tuple[Any, Meta]], cuts: list[int]) -> None:
    projection = probe()
    cuts = sorted(min(cut, len(history)) for cut in cuts)
    whole = in_batches(projection, history, [])
    assert in_batches(projection, history, cuts) == whole
    folded = fold(projection, history)
    assert sorted(map(repr, [*folded["probe"], *folded["sums"]])) == sorted(map(repr, whole.values()))


@given(histories(), st.randoms())
def test_any_order_between_subjects_gives_the_same_rows(history: list[tuple[Any, Meta]], chance: Any) -> None:
    queues = {s: [item for item in history if item[1].subject == s] for s in SUBJECTS}
    mixed = []
    while any(queues.values()):
        mixed.append(queues[chance.choice([s for s, some in queues.items() if some])].pop(0))
    assert in_batches(probe(), mixed, []) == in_batches(probe(), history, [])


def test_where_a_function_raises_nothing_has_changed() -> None:
    projection = probe()
    rows: Rows = {}
    counts: dict[Place, Any] = {}
    event, meta = one(SUBJECTS[0], 1, PatientShared(patient_id="p", with_clinic="a"))
    apply(projection.plan(event, meta), meta, meta.seq, rows, counts)
    before = copy.deepcopy(rows), {place: count.row() for place, count in counts.items()}
    event, meta = one(SUBJECTS[0], 2, PatientShared(patient_id="p", with_clinic="boom"))
    with pytest.raises(LookupError):
        apply(projection.plan(event, meta), meta, meta.seq, rows, counts)
    assert (rows, {place: count.row() for place, count in counts.items()}) == before


def test_a_row_that_was_removed_is_gone_and_may_come_again() -> None:
    shared, died = PatientShared(patient_id="p", with_clinic="a"), PatientDeathRecorded(patient_id="p", deceased_at="")
    assert fold(probe(), [one(SUBJECTS[0], 1, shared), one(SUBJECTS[0], 2, died)])["probe"] == []
    again = fold(probe(), [one(SUBJECTS[0], n, body) for n, body in enumerate((shared, died, shared), 1)])["probe"]
    assert [row.trail for row in again] == ["a;"]


def test_a_key_without_the_subject_or_without_the_clinic_is_refused() -> None:
    projection = Projection(name="probe", version=1, scope=Scope.CLINIC)
    with pytest.raises(TypeError, match="must contain the subject"):
        projection.table(key=("clinic_id",))
    with pytest.raises(TypeError, match="must contain clinic_id"):
        projection.table(key=("subject",))
    with pytest.raises(TypeError, match="has no field"):
        projection.table(key=("clinic_id", "subject", "nothing"))(Row)
