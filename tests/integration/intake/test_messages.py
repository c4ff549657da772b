"""Intake: a message is taken in once, wholly or not at all; on the doubles in memory and on PostgreSQL."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from epicrisis.errors import Malformed, Refused, VersionMismatch
from epicrisis.importing import import_files
from epicrisis.intake import Outcome, Receipt, receive
from epicrisis.journal import Naming
from tests.integration.intake.house import NEW_OBSERVATION, NOW, House, numbered, one, request_to, subject_of, task
from tests.kernel_support import bundle, condition, observation, patient

pytestmark = pytest.mark.servers


def test_the_same_message_again_gets_the_first_answer(house: House) -> None:
    raw = bundle(patient(), condition(), observation())
    first = house.receive(raw)
    second = house.receive(raw)
    assert (first.repeated, second.repeated) == (False, True)
    assert (second.message, second.resources, dict(second.events)) == (first.message, 3, dict(first.events))
    assert dict(first.events) == {"registration": 1, "diagnosis": 1, "chart": 1}
    assert len(house.events(first.message)) == 3


def test_a_message_sent_by_several_at_once_is_taken_in_once(house: House) -> None:
    raw = bundle(patient(), condition(), observation())
    receipts: list[Receipt] = []

    def send() -> None:
        receipts.append(house.receive(raw))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.repeated for r in receipts) == [False, True, True, True]
    assert len(house.events(receipts[0].message)) == 3


def test_a_refused_message_leaves_nothing(house: House) -> None:
    house.receive(bundle(patient(), condition(verification="refuted")))
    refused = bundle(patient("p1", family="Maier"), observation("o7"), condition(verification="confirmed"))
    for _ in range(2):
        with pytest.raises(Refused, match=r"Bundle.entry\[2\]: this diagnosis was ruled out"):
            house.receive(refused)
    message = receive.message_id(house.own, f"{house.own}/gyn", refused)
    assert house.events(message) == []
    assert house.inbox.result(message) is None
    assert house.inbox.occupied(message) == set()
    # Nobody waits for it: the patient's next message goes through.
    assert house.receive(bundle(patient(), observation())).events == {"chart": 1}


def test_a_refused_message_is_judged_anew_when_it_comes_again(house: House) -> None:
    house.receive(bundle(patient()))
    early = bundle(task(status="cancelled"))
    with pytest.raises(Refused, match="send the ServiceRequest first"):
        house.receive(early)
    house.receive(bundle(request_to(house.own)))
    receipt = house.receive(early)
    assert not receipt.repeated
    assert receipt.events["referral"] == 1
    assert house.receive(early).repeated


def test_a_message_of_the_same_name_gets_the_first_answer_whatever_its_bytes(house: House) -> None:
    first = house.receive(bundle(patient()), name="MSG-1")
    again = house.receive(bundle(patient(), observation()), name="MSG-1")
    assert again.repeated
    assert (again.message, again.entries) == (first.message, first.entries)
    assert not house.receive(bundle(patient(), observation()), name="MSG-2").repeated


# What came of each entry


def test_a_receipt_says_what_came_of_each_entry(house: House) -> None:
    first = house.receive(bundle(patient(), observation(), condition()))
    assert [(e.resource_type, e.version, e.did) for e in first.entries] == [
        ("Patient", 1, "created"), ("Observation", 1, "created"), ("Condition", 1, "created"),
    ]  # fmt: skip
    second = house.receive(bundle(patient(), observation(value=2)))
    assert [(e.version, e.did) for e in second.entries] == [(1, "unchanged"), (2, "updated")]
    assert second.entries[1].id == first.entries[1].id
    gone = house.receive(bundle(delete=("Observation/o1", "Condition/c1")))
    assert [(e.version, e.did) for e in gone.entries] == [(3, "deleted"), (1, "deleted")]
    again = house.receive(bundle(delete=("Observation/o1",)))
    assert [(e.version, e.did) for e in again.entries] == [(3, "unchanged")]
    assert house.receive(bundle(patient(), observation(), condition())).entries == first.entries, "the first answer"


def test_a_change_of_a_version_that_is_not_the_newest_is_refused(house: House) -> None:
    house.receive(bundle(patient(), observation()))

    def change(value: float, etag: str) -> Receipt:
        return house.receive(one(observation(value=value), method="PUT", url="Observation/o1", ifMatch=etag))

    assert change(2, 'W/"1"').entries[0].version == 2
    with pytest.raises(VersionMismatch, match="is at version 2, not at 1"):
        change(3, 'W/"1"')
    assert change(2, 'W/"1"').repeated, "it was acknowledged before"
    with pytest.raises(VersionMismatch, match="is at version 0"):
        house.receive(one(observation("o9"), method="PUT", url="Observation/o9", ifMatch='W/"1"'))
    with pytest.raises(Malformed, match="ifMatch"):
        change(3, "yesterday")


def test_the_versions_of_a_resource_that_changes_hands_are_counted_over_both(house: House) -> None:
    def episode(text: str, code: str) -> dict[str, Any]:
        concept = {"text": text, "coding": [{"system": "http://snomed.info/sct", "code": code}]}
        kind = {"resourceType": "EpisodeOfCare", "id": "e1", "status": "active", "type": [concept]}
        return kind | {"patient": {"reference": "Patient/p1"}}

    general, oncology = "394802001", "394592004"
    house.receive(bundle(patient()))
    versions = [
        house.receive(bundle(episode(text, code))).entries[0].version
        for text, code in (("a", general), ("b", general), ("c", oncology), ("d", general), ("e", oncology))
    ]
    assert versions == [1, 2, 3, 4, 5]
    late = one(episode("f", general), method="PUT", url="EpisodeOfCare/e1", ifMatch='W/"2"')
    with pytest.raises(VersionMismatch, match="is at version 5"):
        house.receive(late)


def test_a_conditional_create_finds_what_is_there(house: House) -> None:
    def create(resource: dict[str, Any], condition: str) -> Receipt:
        return house.receive(one(resource, method="POST", url=resource["resourceType"], ifNoneExist=condition))

    nameless = {"resourceType": "Patient", "birthDate": "1971-03-04"}
    first = create(nameless, "identifier=urn:numbers|77")
    second = create(nameless | {"gender": "female"}, "identifier=urn:numbers|77")
    assert (first.entries[0].did, second.entries[0].did) == ("created", "unchanged")
    assert second.entries[0].id == first.entries[0].id
    assert second.entries[0].version == 1
    changed = nameless | {"gender": "male"}
    third = house.receive(one(changed, method="PUT", url="Patient?identifier=urn:numbers|77"))
    assert third.entries == ((Outcome("Patient", first.entries[0].id, 2, "updated")),)
    for condition_ in ("name=Meier", "identifier=77"):
        with pytest.raises(Malformed, match="ifNoneExist"):
            create(nameless, condition_)


def test_a_condition_finds_a_resource_of_any_type_that_a_condition_has_made(house: House) -> None:
    def send(resource: dict[str, Any], method: str = "POST", **more: str) -> Outcome:
        url = resource["resourceType"] + more.pop("query", "")
        return house.receive(one(resource, method=method, url=url, **more)).entries[0]

    house.receive(bundle(patient(), patient("p2")))
    sample = "identifier=urn:samples|7"
    first = send(NEW_OBSERVATION, ifNoneExist=sample)
    again = send(NEW_OBSERVATION | {"status": "amended"}, ifNoneExist=sample)
    assert (first.did, first.version) == ("created", 1)
    assert (again.did, again.version, again.id) == ("unchanged", 1, first.id)
    other = send(NEW_OBSERVATION | {"subject": {"reference": "Patient/p2"}}, ifNoneExist=sample)
    assert (other.did, other.id) == ("unchanged", first.id)
    changed = send(NEW_OBSERVATION | {"status": "corrected"}, "PUT", query=f"?{sample}")
    assert (changed.did, changed.version, changed.id) == ("updated", 2, first.id)
    with pytest.raises(Refused, match="another patient"):
        send(NEW_OBSERVATION | {"subject": {"reference": "Patient/p2"}}, "PUT", query=f"?{sample}")
    put = send(condition() | {"id": "c1"}, "PUT", query="?identifier=urn:problems|1")
    assert send(condition() | {"id": "c1"}, ifNoneExist="identifier=urn:problems|1").id == put.id
    post = {"method": "POST", "url": "Observation", "ifNoneExist": sample + "8"}
    twice = [{"resource": NEW_OBSERVATION, "request": post}]
    made = house.receive(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": twice * 2}).encode())
    assert [entry.did for entry in made.entries] == ["created", "created"]
    assert made.entries[0] == made.entries[1]


def test_a_resource_is_found_by_identifiers_that_it_may_share_with_others(house: House) -> None:
    first = bundle(patient(number="7"), numbered(observation(), "7", "8"), numbered(condition(), "7"))
    ids = {outcome.resource_type: outcome.id for outcome in house.receive(first).entries}
    (naming,) = house.named("Observation", "7")["chart"]
    assert naming == Naming(naming.digest, UUID(ids["Observation"]), NOW)
    assert [one.resource_id for one in house.named("Condition", "7")["diagnosis"]] == [UUID(ids["Condition"])]
    assert house.named("Patient", "7") == {}
    house.receive(bundle(numbered(observation("o2"), "8"), numbered(observation("o3"), "8", use="temp")))
    assert list(house.named("Observation", "8")) == ["chart"]
    assert len(house.named("Observation", "8")["chart"]) == 2


# References


def test_a_urn_uuid_that_is_not_in_the_message_is_refused(house: House) -> None:
    dangling = bundle(observation(to="urn:uuid:00000000-0000-4000-8000-00000000dead"))
    with pytest.raises(Refused, match=r"Bundle.entry\[0\].resource.subject: a reference names a resource"):
        house.receive(dangling)


def test_a_patient_who_is_not_known_yet_is_refused_and_may_be_sent_again(house: House) -> None:
    raw = bundle(observation())
    with pytest.raises(Refused, match="send the Patient first"):
        house.receive(raw)
    house.receive(bundle(patient()))
    assert house.receive(raw).events == {"chart": 1}


def test_a_conditional_reference_is_resolved_or_refused(house: House) -> None:
    subject = subject_of(house, house.receive(bundle(patient(number="9"))))
    receipt = house.receive(bundle(observation(to="Patient?identifier=urn:numbers|9")))
    (event,) = house.events(receipt.message)
    assert event[1] == subject
    assert f"Patient/{subject}".encode() in event[5].resource
    with pytest.raises(Refused, match="matches no Patient known here"):
        house.receive(bundle(observation("o2", to="Patient?identifier=urn:numbers|10")))
    with pytest.raises(Refused, match="must be Type"):
        house.receive(bundle(observation("o3", to="Patient?name=Meier")))


def test_a_deletion_means_entered_in_error(house: House) -> None:
    house.receive(bundle(patient(), condition(), observation()))
    receipt = house.receive(bundle(delete=("Condition/c1", "Observation/o1", "Patient/p1")))
    assert sorted(type(e[5]).__name__ for e in house.events(receipt.message)) == [
        "DiagnosisEnteredInError",
        "PatientEnteredInError",
        "ResourceRetracted",
    ]
    with pytest.raises(Refused, match="no such Condition"):
        house.receive(bundle(delete=("Condition/unknown",)))


def test_what_was_sent_is_kept_byte_for_byte_but_for_its_references(house: House) -> None:
    raw = b'{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"x"},'
    raw += b'"subject":{"reference":"Patient/p1"}, "valueQuantity" : {"value":1.10}}'
    subject = subject_of(house, house.receive(bundle(patient())))
    (event,) = house.events(house.receive(raw).message)
    assert event[5].resource == raw.replace(b"Patient/p1", f"Patient/{subject}".encode())


# Files


def written(folder: Path, *messages: bytes) -> list[Path]:
    """A file each, named in this order."""
    paths = [folder / f"{n:02}.json" for n in range(len(messages))]
    for path, raw in zip(paths, messages, strict=True):
        path.write_bytes(raw)
    return paths


def test_an_import_tries_what_was_refused_again_after_what_came_later(house: House, tmp_path: Path) -> None:
    paths = written(
        tmp_path,
        b"{",
        bundle(task(status="cancelled")),  # needs the request
        bundle({**request_to(house.own)}),  # needs the patient
        bundle(task("t2", about="ServiceRequest/never")),
        bundle(observation(to="Patient/nobody")),
        bundle(patient()),
    )
    asked: list[bytes] = []
    one = house.intake()
    receive_one = one.receive

    def counting(raw: bytes, **more: Any) -> Receipt:
        asked.append(raw)
        return receive_one(raw, **more)

    one.receive = counting  # type: ignore[method-assign]
    report = import_files(paths, one, operator=house.own, clinic=f"{house.own}/gyn", from_source=False)
    assert (report.messages, report.repeated) == (3, 0)
    assert [Path(place).name for place, _ in report.refused] == ["00.json", "03.json", "04.json"]
    assert "send the ServiceRequest first" in report.refused[1][1]
    assert "send the Patient first" in report.refused[2][1]
    asked.clear()
    again = import_files(paths, one, operator=house.own, clinic=f"{house.own}/gyn", from_source=False)
    assert (again.messages, again.repeated) == (3, 3)
    assert again.refused == report.refused
    assert len(asked) == 5 + 2, "tried again once, for the patient that came after them"
