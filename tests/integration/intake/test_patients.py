"""Intake: who is who, and whose patient it is."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from epicrisis.errors import Foreign, Refused
from epicrisis.intake import Outcome, Receipt, receive
from epicrisis.lockstep import Lockstep, Spares
from tests.integration.intake.house import House, request_to, subject_of
from tests.kernel_support import bundle, condition, observation, patient

pytestmark = pytest.mark.servers


def test_the_same_person_by_identifier_is_the_same_subject(house: House) -> None:
    first = house.receive(bundle(patient("p1", number="77")))
    second = house.receive(bundle(patient("other-id", number="77", family="Maier")))
    assert subject_of(house, first) == subject_of(house, second)
    third = house.receive(bundle(observation(to="Patient/other-id")))
    assert {e[1] for e in house.events(third.message)} == {subject_of(house, first)}


def test_an_identifier_of_another_operator_is_another_person(house: House) -> None:
    first = house.receive(bundle(patient("p1", number="77")))
    second = house.receive(bundle(patient("p1", number="77")), operator=f"{house.own}x")
    assert subject_of(house, first) != subject_of(house, second)


def test_identifiers_of_two_different_patients_are_refused(house: House) -> None:
    house.receive(bundle(patient("p1", number="1")))
    house.receive(bundle(patient("p2", number="2")))
    both = patient("p3", identifier=[{"system": "urn:numbers", "value": v} for v in ("1", "2")])
    with pytest.raises(Refused, match="belong to 2 different ones"):
        house.receive(bundle(both))
    taken = patient("p1", identifier=[{"system": "urn:numbers", "value": v} for v in ("1", "2")])
    with pytest.raises(Refused, match="belongs to another one"):
        house.receive(bundle(taken))


def test_two_messages_that_register_the_same_person_at_once_make_one_subject(house: House) -> None:
    raws = [bundle(patient(f"p{n}", number="5"), observation(f"o{n}", to=f"Patient/p{n}")) for n in range(4)]
    receipts: list[Receipt] = []
    errors: list[BaseException] = []

    def send(raw: bytes) -> None:
        try:
            receipts.append(house.receive(raw))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(raw,)) for raw in raws]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    events = house.events(*(r.message for r in receipts))
    assert len({e[1] for e in events}) == 1
    for name in ("registration", "chart"):
        seqs = sorted(e[2] for e in events if e[0] == name)
        assert seqs == list(range(1, len(seqs) + 1))
    assert sum(e[0] == "chart" for e in events) == 4


def test_messages_that_go_in_step_come_to_the_same_as_one_after_the_other(house: House) -> None:
    """Different patients, two messages of one, one that is refused, and one that comes twice."""
    refused = bundle(condition(to="Patient/nobody"))
    raws = [bundle(patient(f"s{n}", number=f"s{n}"), observation(f"o{n}", to=f"Patient/s{n}")) for n in range(6)]
    raws += [bundle(patient("s0", number="s0"), observation("more", to="Patient/s0")), raws[1], refused]
    intakes = Spares(house.intake)

    def receive(raw: bytes) -> Receipt:
        with intakes.one() as intake:
            return house.receive(raw, intake=intake)

    executor = Lockstep(1, len(raws))
    futures = [executor.submit(receive, raw) for raw in raws]
    executor.shutdown()
    with pytest.raises(Refused, match="not known here"):
        futures.pop().result()
    receipts = [future.result() for future in futures]
    assert [sum(r.repeated for r in receipts), len({r.message for r in receipts})] == [1, 7]
    events = house.events(*{r.message for r in receipts})
    subjects = {e[1] for e in events}
    assert len(subjects) == 6
    for subject in subjects:
        seqs = {name: [e[2] for e in events if (e[0], e[1]) == (name, subject)] for name in ("registration", "chart")}
        assert all(sorted(some) == list(range(1, len(some) + 1)) for some in seqs.values())
    assert sum(e[0] == "chart" for e in events) == 7
    assert house.inbox.unfinished() == []
    assert all(house.inbox.occupied(r.message) == set() for r in receipts)


# Whose patient it is


def test_another_operators_patient_is_refused_until_a_referral_shares_it(house: House) -> None:
    other = f"{house.own}x"
    subject = subject_of(house, house.receive(bundle(patient())))
    theirs = bundle(observation("theirs", to=f"Patient/{subject}"))
    with pytest.raises(Refused, match="belongs to another operator"):
        house.receive(theirs, operator=other)
    # A request of their own opens nothing either.
    forged = {**request_to(other), "subject": {"reference": f"Patient/{subject}"}}
    with pytest.raises(Refused, match="belongs to another operator"):
        house.receive(bundle(forged), operator=other)
    shared = house.receive(bundle(request_to(other)))
    assert dict(shared.events) == {"registration": 1, "referral": 1}
    receipt = house.receive(theirs, operator=other)
    assert {e[1] for e in house.events(receipt.message)} == {subject}
    with pytest.raises(Refused, match="belongs to another operator"):
        house.receive(theirs, operator=f"{house.own}y")


def test_a_resource_is_changed_by_its_senders_id_and_by_the_clusters(house: House) -> None:
    first = house.receive(bundle(patient(number="7"), observation(), {"resourceType": "Practitioner", "id": "dr"}))
    who, what, doctor = (e.id for e in first.entries)
    by_cluster = bundle(patient(who, family="Maier"), observation(what, 2, to=f"Patient/{who}"))
    assert [e[1:] for e in house.receive(by_cluster).entries] == [(who, 2, "updated"), (what, 2, "updated")]
    assert house.receive(bundle(observation(value=3))).entries == (Outcome("Observation", what, 3, "updated"),)
    named = {"resourceType": "Practitioner", "id": doctor, "name": [{"family": "Ono"}]}
    assert house.receive(bundle(named)).entries == (Outcome("Practitioner", doctor, 2, "updated"),)
    house.receive(bundle(patient("p2")))
    with pytest.raises(Refused, match="belongs to another patient"):
        house.receive(bundle(observation(what, 4, to="Patient/p2")))
    assert house.receive(bundle(delete=(f"Observation/{what}",))).entries[0].did == "deleted"


def test_what_another_operator_recorded_cannot_be_changed_by_its_id(house: House) -> None:
    doctor = {"resourceType": "Practitioner", "id": "dr"}
    first = house.receive(bundle(patient(), observation(), doctor))
    for entry in first.entries:
        there = f"{entry.resource_type}/{entry.id}"
        with pytest.raises(Foreign, match="another operator"):
            house.receive(bundle(delete=(there,)), operator=f"{house.own}x")
    with pytest.raises(Foreign, match="another operator"):
        house.receive(bundle(patient(first.entries[0].id)), operator=f"{house.own}x")


def test_another_operator_can_delete_nothing_of_ours(house: House) -> None:
    other = f"{house.own}x"
    subject = subject_of(house, house.receive(bundle(patient(), condition())))
    for url in ("Condition/c1", f"Patient/{subject}", "Patient/p1"):
        raw = bundle(delete=(url,))
        with suppress(Refused):
            house.receive(raw, operator=other)
        assert house.events(receive.message_id(other, f"{other}/gyn", raw)) == []
