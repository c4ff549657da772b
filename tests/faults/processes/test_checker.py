"""The checker can fail: a good history passes, and every doctored one is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

import pytest

from epicrisis.audit.chain import first_link, next_link
from tests.faults.processes.history import Acknowledged, Archived, During, Event, Look, Rest, at_rest

SPACE = UUID(int=0)
ANN, BOB = uuid5(SPACE, "ann"), uuid5(SPACE, "bob")


def event(service: str, subject: UUID, seq: int, message: str) -> Event:
    return Event(service, subject, seq, uuid5(subject, f"{service} {seq}"), uuid5(SPACE, message))


FIRST = [event("registration", ANN, 1, "first"), event("diagnosis", ANN, 1, "first")]
SECOND = [event("diagnosis", ANN, 2, "second"), event("diagnosis", BOB, 1, "second")]
EXPECTED = {uuid5(SPACE, "first"): FIRST, uuid5(SPACE, "second"): SECOND}
EVENTS = [*FIRST, *SECOND]
ANSWERS = [
    Acknowledged("1", uuid5(SPACE, "first"), {"registration": 1, "diagnosis": 1}, False),
    Acknowledged("1", uuid5(SPACE, "first"), {"registration": 1, "diagnosis": 1}, True),
    Acknowledged("2", uuid5(SPACE, "second"), {"diagnosis": 2}, False),
]


def value(one: Event) -> bytes:
    return str(one.id).encode()


def archive(events: list[Event]) -> tuple[list[Archived], dict[UUID, tuple[int, bytes]]]:
    """A ledger of these events, chained, by subject; and its heads."""
    rows: list[Archived] = []
    heads: dict[UUID, tuple[int, bytes]] = {}
    for one in events:
        n, link = heads.get(one.subject, (0, first_link(one.subject)))
        heads[one.subject] = n + 1, next_link(link, value(one))
        rows.append(Archived(one.subject, *heads[one.subject], value(one)))
    return rows, heads


def good() -> dict[str, Any]:
    archived, heads = archive(EVENTS)
    return {
        "acknowledged": ANSWERS,
        "expected": EXPECTED,
        "journal": [FIRST[0], FIRST[1], *SECOND],
        "values": {(e.service, e.subject, e.seq): value(e) for e in EVENTS},
        "log": [*FIRST, FIRST[0], SECOND[0], FIRST[1], SECOND[1]],
        "ledger": EVENTS,
        "archived": archived,
        "heads": heads,
        "positions": {
            ("ledger", ANN): {"registration": 1, "diagnosis": 2},
            ("ledger", BOB): {"diagnosis": 1},
        },
        "reads": {"clinic_patients": ("x", "x")},
        "folds": {"clinic_patients": ("y", "y")},
        "left": {"parked": 0},
    }


def test_a_good_history_passes() -> None:
    verdict = at_rest(Rest(**good()), complete=True)
    assert verdict.problems == []
    assert (verdict.acknowledged, verdict.sent_again) == (4, 2)


def ledger_of(events: list[Event]) -> dict[str, Any]:
    archived, heads = archive(events)
    return {"ledger": events, "archived": archived, "heads": heads}


def without(last: Event) -> list[Event]:
    return [e for e in EVENTS if e != last]


SWAPPED = [FIRST[0], SECOND[0], FIRST[1], SECOND[1]]
STRANGER = event("chart", BOB, 1, "third")
DOCTORED: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
    "lost from the journal": ({"journal": without(SECOND[1])}, lambda v: bool(v.lost)),
    "lost from the log": ({"log": without(SECOND[1])}, lambda v: bool(v.lost)),
    "lost from the ledger": (ledger_of(without(SECOND[1])), lambda v: bool(v.lost)),
    "lost from everywhere, though acknowledged": (
        {"journal": without(SECOND[1]), "log": without(SECOND[1]), **ledger_of(without(SECOND[1]))},
        lambda v: len(v.lost) == 3,
    ),
    "doubled in the journal": ({"journal": [*EVENTS, EVENTS[-1]]}, lambda v: bool(v.doubled)),
    "doubled in the ledger": (ledger_of([*EVENTS, EVENTS[-1]]), lambda v: bool(v.doubled)),
    "doubled under a new id": (
        {"journal": [*EVENTS, EVENTS[-1]._replace(seq=2, id=uuid5(SPACE, "new"))]},
        lambda v: bool(v.other),
    ),
    "swapped in the log": ({"log": SWAPPED}, lambda v: bool(v.out_of_order)),
    "swapped in the ledger": (ledger_of(SWAPPED), lambda v: bool(v.out_of_order)),
    "a gap in the journal": (
        {"journal": [e if e != SECOND[0] else e._replace(seq=3) for e in EVENTS]},
        lambda v: bool(v.out_of_order),
    ),
    "a stranger in the log": ({"log": [*EVENTS, STRANGER]}, lambda v: bool(v.other)),
    "a wrong answer": ({"acknowledged": [ANSWERS[0]._replace(events={"diagnosis": 1})]}, lambda v: bool(v.other)),
    "another answer the second time": (
        {"acknowledged": [ANSWERS[0], ANSWERS[1]._replace(events={}), ANSWERS[2]]},
        lambda v: bool(v.other),
    ),
    "an unknown message": (
        {"acknowledged": [*ANSWERS, Acknowledged("3", uuid5(SPACE, "third"), {}, False)]},
        lambda v: bool(v.other),
    ),
    "a position behind": (
        {"positions": {("ledger", ANN): {"registration": 1, "diagnosis": 1}}},
        lambda v: bool(v.other),
    ),
    "other bytes in the ledger": (
        {"values": {(e.service, e.subject, e.seq): b"other" for e in EVENTS}},
        lambda v: bool(v.other),
    ),
    "a head that is not the last event": ({"heads": {}}, lambda v: bool(v.other)),
    "rows unlike those of a run without faults": ({"reads": {"a": ("x", "z")}}, lambda v: bool(v.other)),
    "rows unlike the folded ledger": ({"folds": {"a": ("x", "z")}}, lambda v: bool(v.other)),
    "something parked": ({"left": {"parked": 1}}, lambda v: bool(v.other)),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_a_doctored_history_is_found_out(name: str) -> None:
    changes, found = DOCTORED[name]
    verdict = at_rest(Rest(**{**good(), **changes}), complete=True)
    assert found(verdict)
    assert verdict.problems


def test_what_was_not_acknowledged_may_be_missing_until_everything_was() -> None:
    history = good() | ledger_of(FIRST)
    history |= {
        "acknowledged": ANSWERS[:2],
        "journal": FIRST,
        "log": FIRST,
        "values": {(e.service, e.subject, e.seq): value(e) for e in FIRST},
        "positions": {("ledger", ANN): {"registration": 1, "diagnosis": 1}},
    }
    assert at_rest(Rest(**history), complete=False).problems == []
    assert at_rest(Rest(**history), complete=True).problems


# During the run


def looks() -> list[Look]:
    """Two moments of a good run."""
    first, heads = archive(FIRST)
    everything, last = archive(EVENTS)
    here = ("diagnosis", 5)
    return [
        Look(ANSWERS[:1], {e.id for e in FIRST}, {("ledger", 0): (2, 1)}, {here: 3}, heads, first),
        Look(ANSWERS, {e.id for e in EVENTS}, {("ledger", 0): (4, 2)}, {here: 9}, last, everything[2:]),
    ]


def problems(*some: Look) -> list[str]:
    during = During(EXPECTED)
    for one in some:
        during.look(one)
    return during.problems


def test_a_good_run_passes() -> None:
    assert problems(*looks()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"journalled": {e.id for e in FIRST}}, "was acknowledged and is not in the journal"),
        ({"offsets": {("ledger", 0): (1, 2)}}, "the offset of"),
        ({"offsets": {("ledger", 0): (4, 0)}}, "the offset of"),
        ({"offsets": {}}, "the offset of"),
        ({"cursors": {("diagnosis", 5): 2}}, "the cursor of"),
        ({"archived": []}, "the ledger's head of"),
        ({"archived": archive(EVENTS)[0][3:]}, "the ledger's head of"),
        ({"archived": [r._replace(n=r.n + 1) for r in archive(EVENTS)[0][2:]]}, "goes from"),
        ({"archived": [r._replace(value=b"forged") for r in archive(EVENTS)[0][2:]]}, "the chain of"),
    ],
)
def test_a_doctored_moment_is_found_out(changes: dict[str, Any], said: str) -> None:
    first, last = looks()
    assert any(said in one for one in problems(first, last._replace(**changes)))


def test_a_subject_that_disappears_from_the_ledger_is_found_out() -> None:
    first, last = looks()
    assert problems(first, last, last._replace(heads=archive(FIRST)[1], archived=[]))
