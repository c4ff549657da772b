"""Intake: wholly or not at all, whoever is killed in between; a busy patient is waited for."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis import assembly
from epicrisis.errors import Refused, TooManyConflicts
from epicrisis.intake import Receipt, receive
from epicrisis.intake.inbox import Message
from epicrisis.journal import Append, Appended
from tests.integration.intake.house import (
    NEW_OBSERVATION,
    NOW,
    Dying,
    House,
    dies,
    in_memory,
    numbered,
    one,
    subject_of,
)
from tests.kernel_support import bundle, condition, observation, patient

pytestmark = pytest.mark.servers
TWO_VERSIONS = bundle(
    patient(number="1"),
    condition(verification="provisional"),
    condition(verification="refuted"),
    numbered(observation(value=1), "1"),
    numbered(observation(value=2), "2"),
    observation("o2", value=3),
)
NEW_IDS = json.dumps(
    {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001",
                "resource": {"resourceType": "Patient", "birthDate": "1971-03-04"},
                "request": {"method": "POST", "url": "Patient"},
            },
            {
                "resource": {
                    **{k: v for k, v in condition().items() if k != "id"},
                    "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"},
                },
                "request": {"method": "POST", "url": "Condition"},
            },
            {
                "resource": {
                    **{k: v for k, v in observation().items() if k != "id"},
                    "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"},
                },
                "request": {"method": "POST", "url": "Observation"},
            },
        ],
    }
).encode()
NEW_CONDITIONS = json.loads(NEW_IDS)
for number, entry in enumerate(NEW_CONDITIONS["entry"]):
    entry["request"]["ifNoneExist"] = f"identifier=urn:numbers|{number}"


@pytest.mark.parametrize("after", [False, True], ids=["before-commit", "after-commit"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    "raw",
    [TWO_VERSIONS, NEW_IDS, json.dumps(NEW_CONDITIONS).encode()],
    ids=["two-versions", "new-ids", "if-none-exist"],
)
@pytest.mark.parametrize("by", ["recovery", "repeat"])
def test_a_message_whose_process_was_killed_is_finished_as_if_nothing_had_happened(
    house: House, raw: bytes, at: int, after: bool, by: str
) -> None:
    undisturbed = replace(in_memory(), own=house.own)
    expected = undisturbed.receive(raw)
    dies(house, raw, at=at, after=after)
    if by == "recovery":
        assert house.intake().recover() == 1
        assert house.intake().recover() == 0
    receipt = house.receive(raw)
    assert receipt.repeated
    assert house.events(receipt.message) == undisturbed.events(expected.message)
    assert dict(receipt.events) == dict(expected.events)
    assert [one[2:] for one in receipt.entries] == [one[2:] for one in expected.entries]
    assert house.inbox.unfinished(receipt.message) == []
    assert house.named("Observation", "1") == {}
    assert house.named("Observation", "2") == undisturbed.named("Observation", "2")
    assert bool(house.named("Observation", "2")) == (raw == TWO_VERSIONS)


@pytest.mark.parametrize("after", [False, True], ids=["before-commit", "after-commit"])
@pytest.mark.parametrize("at", [1, 2])
def test_an_identifier_that_was_claimed_before_the_process_was_killed_is_its_resources(
    house: House, at: int, after: bool
) -> None:
    house.receive(bundle(patient()))
    raw = one(NEW_OBSERVATION, method="POST", url="Observation", ifNoneExist="identifier=urn:samples|7")
    dies(house, raw, at=at, after=after)
    changed = NEW_OBSERVATION | {"status": "amended"}
    found = house.receive(one(changed, method="POST", url="Observation", ifNoneExist="identifier=urn:samples|7"))
    (first,) = house.receive(raw).entries
    assert (first.did, first.version) == ("created", 1)
    assert found.entries == (first._replace(did="unchanged"),)


def test_a_message_about_a_patient_whose_process_was_killed_is_finished_by_the_next_one(house: House) -> None:
    house.receive(bundle(patient()))
    first, second = bundle(condition(), observation()), bundle(observation("o2"))
    dies(house, first, at=2)
    receipt = house.receive(second)
    earlier = house.receive(first)
    assert earlier.repeated
    seqs = {e[2] for m in (receipt, earlier) for e in house.events(m.message) if e[0] == "chart"}
    assert seqs == {1, 2}
    assert next(e[2] for e in house.events(earlier.message) if e[0] == "chart") == 1, "the first came first"


def test_a_recorded_message_that_is_refused_later_keeps_nobody_waiting(house: House) -> None:
    """Between its recording and its recovery, its two identifiers came to belong to two different patients."""
    both = patient("p3", identifier=[{"system": "urn:numbers", "value": v} for v in ("1", "2")])
    raw = bundle(both)
    dies(house, raw, at=1)
    house.receive(bundle(patient("p1", number="1")))
    house.receive(bundle(patient("p2", number="2")))
    house.intake().recover()
    message = receive.message_id(house.own, f"{house.own}/gyn", raw)
    assert house.inbox.unfinished(message) == []
    assert house.inbox.result(message) is None
    with pytest.raises(Refused, match="belong to 2 different ones"):
        house.receive(raw)


def test_a_message_that_is_refused_after_a_part_of_it_was_appended_is_never_forgotten(house: House) -> None:
    """Its process was killed between two services, the next release refuses the rest, the one after mends that."""
    raw = bundle(patient(), condition(), observation())
    dies(house, raw, at=3)
    message = receive.message_id(house.own, f"{house.own}/gyn", raw)
    before = house.events(message)
    assert [e[0] for e in before] == ["diagnosis", "registration"]

    def refuse(*_: Any) -> Any:
        raise Refused("not in this release")

    strict = house.intake()
    strict._services = [replace(s, decide=refuse) if s.name == "chart" else s for s in strict._services]
    assert strict.recover() == 1
    house.receive(bundle(observation("o2")))  # nobody waits for it
    for _ in range(2):
        with pytest.raises(Refused, match="not in this release"):
            house.receive(raw, intake=strict)
        assert house.inbox.result(message) == ("done", {"refused": "Bundle.entry[2]: not in this release"})
        assert house.inbox.occupied(message) == set()
    assert house.events(message) == before
    receipt = house.receive(raw)
    assert dict(receipt.events) == {"registration": 1, "diagnosis": 1, "chart": 1}
    assert [e[0] for e in house.events(message)] == ["chart", "diagnosis", "registration"]
    assert house.receive(raw).repeated


def test_a_message_that_cannot_be_finished_holds_up_no_other(house: House) -> None:
    damaged, key = uuid4(), house.keys.for_subjects([uuid4()])
    for wrapping in key.values():
        house.inbox.record(
            Message(
                id=damaged, received=NOW, operator=house.own, clinic="x/y", door="t", key=wrapping.id, original=b"short"
            ),
            [],
        )
    raw = bundle(patient(), observation())
    dies(house, raw, at=2)
    assert house.intake().recover() == 1
    assert house.receive(raw).repeated
    house.inbox.finish(damaged, {"resources": 0, "events": {}})


def test_about_an_erased_patient_nothing_more_is_written(house: House) -> None:
    subject = subject_of(house, house.receive(bundle(patient())))
    begun = bundle(observation("o1"))
    dies(house, begun, at=1)
    erase(house, subject)
    with pytest.raises(Refused, match="was erased"):
        house.receive(bundle(observation("o2")))
    assert house.intake().recover() == 1
    with pytest.raises(Refused, match="was erased"):
        house.receive(begun)


def erase(house: House, subject: UUID) -> None:
    if house.settings:
        with psycopg.connect(house.settings.admin_dsn(house.settings.database("keys"))) as connection:
            connection.execute(
                "UPDATE keys.data_key SET wrapped = NULL, destroyed = now() WHERE subject = %s", (subject,)
            )
        house.keys = assembly.key_store(house.settings, "intake")
    else:
        house.keys.destroy(subject)


# Waiting


def test_a_message_about_a_busy_patient_waits_for_its_turn(house: House) -> None:
    house.receive(bundle(patient()))
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Dying):
        def append(self, appends: list[Append], *more: Any) -> Appended:
            inside.set()
            assert go_on.wait(10)
            return self.inner.append(appends, *more)

    slow = {name: Slow(journal, [0], False) for name, journal in house.journals.items()}
    first, second = bundle(observation("o1")), bundle(observation("o2"))
    receipts: dict[str, Receipt] = {}
    one = threading.Thread(target=lambda: receipts.update(first=house.receive(first, intake=house.intake(slow))))
    one.start()
    assert inside.wait(10)
    two = threading.Thread(target=lambda: receipts.update(second=house.receive(second)))
    two.start()
    two.join(0.3)
    assert "second" not in receipts
    go_on.set()
    one.join(10)
    two.join(10)
    order = [e[2] for name in ("first", "second") for e in house.events(receipts[name].message)]
    assert order == [1, 2]


def test_whoever_waits_too_long_is_told_to_send_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(receive, "TRIES", 2)
    subject = subject_of(house, house.receive(bundle(patient())))
    busy = uuid4()
    key = house.keys.for_subjects([subject])[subject]
    house.inbox.record(
        Message(
            id=busy, received=NOW, operator=house.own, clinic="x/y", door="t", key=key.id, original=b"not read: watched"
        ),
        [subject],
    )
    with house.inbox.watching(busy) as (mine, _):
        assert mine
        with pytest.raises(TooManyConflicts):
            house.receive(bundle(observation()))
    house.inbox.finish(busy, {"resources": 0, "events": {}})
    assert house.receive(bundle(observation())).events == {"chart": 1}
