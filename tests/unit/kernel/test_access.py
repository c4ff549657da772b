"""Recording accesses, on memory: numbered, sealed, together, and before anything leaves; breaking a glass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.access.api import Access, Accessed, Caller, Glass, numbers, ranges, subject_of
from epicrisis.access.glass import BreakGlass
from epicrisis.access.recorder import Recorder
from epicrisis.assembly import codec
from epicrisis.codec import MemoryKeyStore
from epicrisis.errors import NotRecorded, Refused
from epicrisis.event import replace
from epicrisis.found import services
from epicrisis.journal import MemoryJournal, Unnumbered

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
HIS = Caller(operator="charite", clinic="charite/gyn", client="his")
ADA = replace(HIS, user="ada", purpose="BTG", reason="unconscious")


class Slow(MemoryJournal):
    """Holds the first append until it is told to go on; remembers how many events each one had."""

    def __init__(self) -> None:
        super().__init__("access_audit")
        self.sizes: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.broken = False

    def append_next(self, events: Sequence[Unnumbered]) -> None:
        self.begun.set()
        assert self.go_on.wait(30)
        self.sizes.append(len(events))
        if self.broken:
            raise OSError("gone")
        super().append_next(events)


class House:
    def __init__(self) -> None:
        self.journal, self.keys = Slow(), MemoryKeyStore()
        parts: dict[str, Any] = {"journal": self.journal, "codec": codec(), "keys": self.keys}
        self.recorder = Recorder(service=services()["access_audit"], **parts)
        self.glass = BreakGlass(service=services()["access_audit"], **parts)

    def read(self, subject: UUID) -> list[tuple[int, Any]]:
        """Numbers and bodies of what is recorded of a subject."""
        opened = [codec().open(value) for value in self.journal.after(subject, 1, 1_000)]
        keys = self.keys.by_ids({one.meta.key for one in opened if one.meta.key})
        return [(one.meta.seq, codec().unseal(one, keys[one.meta.key])) for one in opened if one.meta.key]


@pytest.fixture
def house() -> House:
    found = House()
    found.journal.go_on.set()
    return found


def access(patient: UUID | None, **changes: Any) -> Access:
    found = Access(
        id=uuid4(), when=NOW, who=HIS, door="http://here", interaction="read", action="R", patient=patient, delivered={}
    )
    return replace(found, **changes)


@given(st.sets(st.integers(min_value=1, max_value=300)))
def test_ranges_say_which_numbers(some: set[int]) -> None:
    assert numbers(ranges(some)) == some


def test_ranges_are_short() -> None:
    assert ranges({3, 1, 2, 9, 11, 12}) == "1-3,9,11-12"
    assert ranges(()) == ""


def test_accesses_are_numbered_behind_one_another(house: House) -> None:
    patient = uuid4()
    for n in range(3):
        house.recorder.record([access(patient, what=f"Observation/{n}")])
    assert [seq for seq, _ in house.read(patient)] == [1, 2, 3]


def test_those_that_come_together_are_committed_together(house: House) -> None:
    house.journal.go_on.clear()
    first = house.recorder.submit([access(uuid4())])
    assert house.journal.begun.wait(30)
    others = [house.recorder.submit([access(uuid4())]) for _ in range(200)]
    assert not first.done()
    house.journal.go_on.set()
    for future in (first, *others):
        future.result(30)
    assert house.journal.sizes == [1, 200]


def test_what_cannot_be_recorded_is_told_to_everybody_who_waits_and_the_next_is_tried_again(house: House) -> None:
    house.journal.broken = True
    waiting = [house.recorder.submit([access(uuid4())]) for _ in range(3)]
    for future in waiting:
        with pytest.raises(NotRecorded):
            future.result(30)
    house.journal.broken = False
    house.recorder.record([access(uuid4())])


def test_one_that_cannot_be_written_down_holds_up_no_other(house: House) -> None:
    house.journal.go_on.clear()
    first = house.recorder.submit([access(uuid4())])
    assert house.journal.begun.wait(30)
    wrong: Future[None] = house.recorder.submit([access(uuid4(), action="E", asked=None)])
    right = house.recorder.submit([access(uuid4())])
    house.journal.go_on.set()
    first.result(30)
    right.result(30)
    with pytest.raises(NotRecorded):
        wrong.result(30)


def test_who_has_left_is_not_waited_for(house: House) -> None:
    house.journal.go_on.clear()
    house.recorder.submit([access(uuid4())])
    assert house.journal.begun.wait(30)
    gone = house.recorder.submit([access(uuid4())])
    assert gone.cancel()
    house.journal.go_on.set()
    house.recorder.record([access(uuid4())])
    assert house.journal.sizes == [1, 1]


def test_what_concerns_no_patient_and_who_was_erased_are_among_what_the_caller_did(house: House) -> None:
    erased = uuid4()
    house.keys.for_subjects([erased])
    house.keys.destroy(erased)
    house.recorder.record([access(None), access(erased)])
    found = [body for _, body in house.read(subject_of(HIS))]
    assert [body.patient for body in found] == [False, True]
    assert str(erased).encode() in found[1].resource
    assert not house.journal.after(erased, 1, 9)


def test_one_access_per_patient_whose_data_left_and_one_where_there_is_none() -> None:
    ada, ben = uuid4(), uuid4()
    accessed = Accessed()
    common: dict[str, Any] = {"now": NOW, "door": "here", "interaction": "search-type", "action": "E"}
    assert [one.patient for one in accessed.accesses(HIS, **common)] == [None]
    accessed.took([(ada, "chart", 1), (ada, "chart", 2), (uuid4(), "directory", 1), (ben, "diagnosis", 4)])
    accessed.named([ben])
    found = {one.patient: one for one in accessed.accesses(HIS, **common, break_glass=(ben, UUID(int=5)))}
    assert {patient: one.delivered for patient, one in found.items()} == {
        ada: {"chart": {1, 2}},
        ben: {"diagnosis": {4}},
    }
    assert {patient: one.break_glass for patient, one in found.items()} == {ada: None, ben: UUID(int=5)}


# Break-glass


def glass(patient: UUID, does: Any, at: datetime = NOW, **changes: Any) -> Glass:
    found = Glass(
        id=UUID(int=9), event=uuid4(), does=does, when=at, who=ADA, patient=patient, door="here", until=NOW + HOUR
    )
    return replace(found, **changes)


def test_a_broken_glass_opens_one_patient_to_one_client_for_its_time(house: House) -> None:
    patient, id_ = uuid4(), UUID(int=9)
    assert house.glass.until(id_, patient, "his", NOW) is None
    assert house.glass.do(glass(patient, "start")) == 1
    assert house.glass.until(id_, patient, "his", NOW) == NOW + HOUR
    assert house.glass.until(id_, patient, "other", NOW) is None
    assert house.glass.until(id_, uuid4(), "his", NOW) is None
    assert house.glass.until(UUID(int=8), patient, "his", NOW) is None
    assert house.glass.until(id_, patient, "his", NOW + HOUR) is None
    assert house.glass.do(glass(patient, "end")) == 1
    assert house.glass.do(glass(patient, "end")) == 0
    assert house.glass.until(id_, patient, "his", NOW) is None


def test_a_review_notices_that_the_time_was_over(house: House) -> None:
    patient = uuid4()
    house.glass.do(glass(patient, "start"))
    house.recorder.record([access(patient)])
    reviewer = replace(HIS, client="command line", user="ben")
    with pytest.raises(Refused, match="still broken"):
        house.glass.do(glass(patient, "review", who=reviewer))
    assert house.glass.do(glass(patient, "review", NOW + HOUR, who=reviewer)) == 2
    names = [type(body).__name__ for _, body in house.read(patient)]
    assert names == ["BreakGlassStarted", "AccessRecorded", "BreakGlassEnded", "BreakGlassReviewed"]
