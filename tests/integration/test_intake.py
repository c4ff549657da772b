"""Intake: wholly or not at all, whoever is killed in between; on the doubles in memory and on PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis import assembly
from epicrisis.codec import KeyStore, MemoryKeyStore
from epicrisis.database import Database
from epicrisis.errors import Foreign, Malformed, Refused, TooManyConflicts, VersionMismatch
from epicrisis.fhir.codes import Codes
from epicrisis.found import services
from epicrisis.importing import import_files
from epicrisis.intake import Intake, Outcome, Receipt, receive
from epicrisis.intake.identity import Digests
from epicrisis.intake.inbox import Inbox, Message, PostgresInbox
from epicrisis.intake.memory import MemoryInbox
from epicrisis.intake.terms import Terms
from epicrisis.journal import Append, Appended, Journal, MemoryJournal
from epicrisis.lockstep import Lockstep, Spares
from epicrisis.settings import Settings
from tests.kernel_support import bundle, condition, observation, own_namespace, patient

pytestmark = pytest.mark.servers
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class House:
    """Everything that outlives a process: journals, inbox, keys."""

    journals: Mapping[str, Journal]
    inbox: Inbox
    keys: KeyStore
    settings: Settings | None = None
    own: str = field(default_factory=lambda: f"op{uuid4().hex[:8]}")
    """An operator whom no other test knows."""

    codes: Codes = field(default_factory=Codes)

    def intake(self, journals: Mapping[str, Journal] | None = None) -> Intake:
        """A process."""
        return Intake(
            services=services(),
            journals=journals or self.journals,
            inbox=self.inbox,
            codec=assembly.codec(),
            keys=self.keys,
            digests=Digests(b"k" * 32),
            clock=lambda: NOW,
            terms={self.own: Terms(codes=self.codes)},
        )

    def receive(
        self, raw: bytes, *, operator: str = "", intake: Intake | None = None, name: str | None = None
    ) -> Receipt:
        operator = operator or self.own
        receive = (intake or self.intake()).receive
        return receive(raw, operator=operator, clinic=f"{operator}/gyn", door="test", name=name)

    def events(self, *messages: UUID) -> list[tuple[Any, ...]]:
        """What these messages have caused: source, subject, seq, id, stream, body."""
        found = []
        for name, journal in self.journals.items():
            if isinstance(journal, MemoryJournal):
                values = [event.value for _, event in journal.log]
            else:
                assert self.settings
                with psycopg.connect(self.settings.dsn_for(name, name)) as connection:
                    values = [value for (value,) in connection.execute("SELECT value FROM journal.event")]
            for value in values:
                sealed = assembly.codec().open(value)
                meta = sealed.meta
                if meta.message in messages:
                    key = self.keys.by_ids([meta.key])[meta.key] if meta.key else None
                    assert key
                    body = assembly.codec().unseal(sealed, key)
                    found.append((name, meta.subject, meta.seq, meta.id, meta.stream, body))
        return sorted(found, key=repr)


def in_memory() -> House:
    return House({name: MemoryJournal(name) for name in services()}, MemoryInbox(), MemoryKeyStore())


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@pytest.fixture(scope="module")
def shared_parts(cluster: Settings) -> Iterator[tuple[Any, ...]]:
    journals = assembly.journals(cluster)
    database = Database(cluster.dsn_for("intake", "intake"), size=8)
    keys = assembly.key_store(cluster, "intake")
    yield journals, PostgresInbox(database), keys, cluster
    for journal in journals.values():
        journal._database.close()
    database.close()
    keys.close()


@pytest.fixture(params=["memory", "postgres"])
def house(request: pytest.FixtureRequest) -> House:
    if request.param == "memory":
        return in_memory()
    return House(*request.getfixturevalue("shared_parts"))


def subject_of(house: House, receipt: Receipt) -> UUID:
    (subject,) = {e[1] for e in house.events(receipt.message) if e[0] == "registration"}
    return subject


# Once


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


def task(own_id: str = "t1", status: str = "accepted", about: str = "ServiceRequest/r1") -> dict[str, Any]:
    return {
        "resourceType": "Task",
        "id": own_id,
        "status": status,
        "intent": "order",
        "focus": {"reference": about},
        "for": {"reference": "Patient/p1"},
    }


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


def one(resource: dict[str, Any] | None = None, **request: str) -> bytes:
    """A transaction of one entry."""
    entry: dict[str, Any] = {"request": request} | ({"resource": resource} if resource else {})
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}).encode()


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


NEW_OBSERVATION = {name: value for name, value in observation().items() if name != "id"}


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


# Killed in between


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """A journal whose process is killed at its n-th append, before the commit or right after it."""

    def __init__(self, inner: Journal, countdown: list[int], after: bool) -> None:
        self.inner, self.countdown, self.after = inner, countdown, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def append(self, appends: list[Append], *more: Any) -> Appended:
        self.countdown[0] -= 1
        if self.countdown[0] == 0 and not self.after:
            raise Killed
        done = self.inner.append(appends, *more)
        if self.countdown[0] == 0:
            raise Killed
        return done


TWO_VERSIONS = bundle(
    patient(number="1"),
    condition(verification="provisional"),
    condition(verification="refuted"),
    observation(value=1),
    observation(value=2),
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
    undisturbed = in_memory()
    expected = undisturbed.receive(raw, operator=house.own)
    countdown = [at]
    dying = {name: Dying(journal, countdown, after) for name, journal in house.journals.items()}
    with pytest.raises(Killed):
        house.receive(raw, intake=house.intake(dying))
    if by == "recovery":
        assert house.intake().recover() == 1
        assert house.intake().recover() == 0
    receipt = house.receive(raw)
    assert receipt.repeated
    assert house.events(receipt.message) == undisturbed.events(expected.message)
    assert dict(receipt.events) == dict(expected.events)
    assert [one[2:] for one in receipt.entries] == [one[2:] for one in expected.entries]
    assert house.inbox.unfinished(receipt.message) == []


@pytest.mark.parametrize("after", [False, True], ids=["before-commit", "after-commit"])
@pytest.mark.parametrize("at", [1, 2])
def test_an_identifier_that_was_claimed_before_the_process_was_killed_is_its_resources(
    house: House, at: int, after: bool
) -> None:
    house.receive(bundle(patient()))
    countdown = [at]
    dying = {name: Dying(journal, countdown, after) for name, journal in house.journals.items()}
    raw = one(NEW_OBSERVATION, method="POST", url="Observation", ifNoneExist="identifier=urn:samples|7")
    with pytest.raises(Killed):
        house.receive(raw, intake=house.intake(dying))
    changed = NEW_OBSERVATION | {"status": "amended"}
    found = house.receive(one(changed, method="POST", url="Observation", ifNoneExist="identifier=urn:samples|7"))
    (first,) = house.receive(raw).entries
    assert (first.did, first.version) == ("created", 1)
    assert found.entries == (first._replace(did="unchanged"),)


def test_a_message_about_a_patient_whose_process_was_killed_is_finished_by_the_next_one(house: House) -> None:
    house.receive(bundle(patient()))
    first, second = bundle(condition(), observation()), bundle(observation("o2"))
    countdown = [2]
    dying = {name: Dying(journal, countdown, False) for name, journal in house.journals.items()}
    with pytest.raises(Killed):
        house.receive(first, intake=house.intake(dying))
    receipt = house.receive(second)
    earlier = house.receive(first)
    assert earlier.repeated
    seqs = {e[2] for m in (receipt, earlier) for e in house.events(m.message) if e[0] == "chart"}
    assert seqs == {1, 2}
    assert next(e[2] for e in house.events(earlier.message) if e[0] == "chart") == 1, "the first came first"


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


# Who is who


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


def request_to(other: str) -> dict[str, Any]:
    def clinic(name: str) -> dict[str, Any]:
        return {"identifier": {"system": "urn:epicrisis:clinic", "value": name}}

    return {
        "resourceType": "ServiceRequest",
        "id": "r1",
        "status": "active",
        "intent": "order",
        "code": {"text": "Second opinion"},
        "subject": {"reference": "Patient/p1"},
        "performer": [clinic(f"{other}/onco")],
    }


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


def test_a_recorded_message_that_is_refused_later_keeps_nobody_waiting(house: House) -> None:
    """Between its recording and its recovery, its two identifiers came to belong to two different patients."""
    both = patient("p3", identifier=[{"system": "urn:numbers", "value": v} for v in ("1", "2")])
    raw, countdown = bundle(both), [1]
    dying = {name: Dying(journal, countdown, False) for name, journal in house.journals.items()}
    with pytest.raises(Killed):
        house.receive(raw, intake=house.intake(dying))
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
    raw, countdown = bundle(patient(), condition(), observation()), [3]
    dying = {name: Dying(journal, countdown, False) for name, journal in house.journals.items()}
    with pytest.raises(Killed):
        house.receive(raw, intake=house.intake(dying))
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
    for one in key.values():
        house.inbox.record(
            Message(
                id=damaged, received=NOW, operator=house.own, clinic="x/y", door="t", key=one.id, original=b"short"
            ),
            [],
        )
    raw, countdown = bundle(patient(), observation()), [2]
    dying = {name: Dying(journal, countdown, False) for name, journal in house.journals.items()}
    with pytest.raises(Killed):
        house.receive(raw, intake=house.intake(dying))
    assert house.intake().recover() == 1
    assert house.receive(raw).repeated
    house.inbox.finish(damaged, {"resources": 0, "events": {}})


def test_about_an_erased_patient_nothing_more_is_written(house: House) -> None:
    subject = subject_of(house, house.receive(bundle(patient())))
    begun, countdown = bundle(observation("o1")), [1]
    dying = {name: Dying(journal, countdown, False) for name, journal in house.journals.items()}
    with pytest.raises(Killed):
        house.receive(begun, intake=house.intake(dying))
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


# References


def test_a_urn_uuid_that_is_not_in_the_message_is_refused(house: House) -> None:
    dangling = bundle(observation(to="urn:uuid:00000000-0000-4000-8000-00000000dead"))
    with pytest.raises(Refused, match=r"Bundle.entry\[0\]: a reference names a resource that is not in this message"):
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


# Local codes


LAB = "urn:oid:2.999.7.1"
POTASSIUM = ("http://loinc.org", "2823-3", "Potassium")


def coded(*codes: str, of: str = "k1") -> bytes:
    """A patient with an Observation under the first of these local codes, and a Condition under the last."""
    observed, diagnosed = ({"coding": [{"system": LAB, "code": code}]} for code in (codes[0], codes[-1]))
    about = f"Patient/{of}"
    return bundle(
        patient(of, number=of),
        observation(f"o-{of}", to=about) | {"code": observed},
        condition(f"c-{of}", to=about) | {"code": diagnosed},
    )


def codes_of(house: House, receipt: Receipt) -> list[tuple[str, str]]:
    bodies = [body for *_, body in house.events(receipt.message) if hasattr(body, "code")]
    return [(body.code.token, body.code.local) for body in bodies]


def listed(house: House) -> list[tuple[str, str, int]]:
    return [(one.system, one.code, one.messages) for one in house.inbox.unmapped() if one.operator == house.own]


def test_a_local_code_is_a_standard_fact_and_the_bytes_stay_as_sent(house: House) -> None:
    house.codes = Codes([(LAB, "K", *POTASSIUM)])
    receipt = house.receive(coded("K"))
    assert codes_of(house, receipt) == [("http://loinc.org|2823-3", f"{LAB}|K")] * 2
    assert all(b'"code": "K"' in body.resource for *_, body in house.events(receipt.message) if hasattr(body, "code"))
    assert (receipt.unmapped, listed(house)) == (0, [])


def test_an_unmapped_code_is_let_in_marked_and_listed_once_a_message(house: House) -> None:
    receipt = house.receive(coded("K", "NEW"))
    assert codes_of(house, receipt) == [(f"{LAB}|K", f"{LAB}|K"), (f"{LAB}|NEW", f"{LAB}|NEW")]
    assert receipt.unmapped == 2
    again = house.receive(coded("K", "NEW"))
    assert (again.repeated, again.unmapped) == (True, 2)
    house.receive(coded("NEW", of="k2"))
    assert listed(house) == [(LAB, "NEW", 2), (LAB, "K", 1)]
    with pytest.raises(Refused):
        house.receive(bundle(patient("k3"), observation("o-k3") | {"code": {"coding": [{"code": "X"}]}}))
    assert len(listed(house)) == 2


def test_what_is_no_code_is_not_repeated_in_the_list(house: House) -> None:
    house.receive(coded("Anna Example, born 1971, lives in a street with a very long name, number 17"))
    assert listed(house) == [(LAB, "(no code: too long)", 1)]


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("by", ["recovery", "repeat"])
def test_a_message_is_finished_by_the_code_map_that_it_was_begun_with(house: House, at: int, by: str) -> None:
    """The map was changed, and the process killed after a part was appended."""
    house.codes = Codes([(LAB, "K", *POTASSIUM)])
    dying = {name: Dying(journal, [at], after=True) for name, journal in house.journals.items()}
    for journal in dying.values():
        journal.countdown = dying["chart"].countdown
    with pytest.raises(Killed):
        house.receive(coded("K", "NEW"), intake=house.intake(dying))
    house.codes = Codes([(LAB, "K", "http://loinc.org", "0-0", "Wrong"), (LAB, "NEW", "http://loinc.org", "1-1", "")])
    if by == "recovery":
        assert house.intake().recover() == 1
    receipt = house.receive(coded("K", "NEW"))
    assert receipt.repeated
    assert codes_of(house, receipt) == [("http://loinc.org|2823-3", f"{LAB}|K"), (f"{LAB}|NEW", f"{LAB}|NEW")]
    assert listed(house) == [(LAB, "NEW", 1)]
    assert codes_of(house, house.receive(coded("K", "NEW", of="k2")))[1][0] == "http://loinc.org|1-1"


def test_the_list_of_an_operator_has_an_end(shared_parts: tuple[Any, ...]) -> None:
    house = House(*shared_parts)
    assert house.settings
    with psycopg.connect(house.settings.dsn_for("intake", "intake")) as connection:
        connection.execute(
            "INSERT INTO inbox.unmapped SELECT %s, 's', 'c' || n, 1, now(), now() FROM generate_series(1, 10000) AS n",
            [house.own],
        )
    house.receive(coded("NEW", "NEWER"))
    assert sum(one[1].startswith("c") for one in listed(house)) == 10_000
    assert ("", "", 1) in listed(house)
    with psycopg.connect(house.settings.dsn_for("intake", "reader")) as connection:
        assert connection.execute(
            "SELECT count(*) FROM inbox.unmapped WHERE operator = %s", [house.own]
        ).fetchone() == (10_001,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM inbox.message")
