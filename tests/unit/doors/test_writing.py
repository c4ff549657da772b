"""Writing over HTTP, on doubles in memory: statuses, headers, bytes, and what is kept of refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from epicrisis.doors.fhir_http.answers import Answer
from epicrisis.doors.fhir_http.app import Call, Interaction
from tests.kernel_support import observation, patient
from tests.unit.doors.support import BASE, House

WHOLE = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.10}}'


@pytest.fixture
def house() -> House:
    return House()


def create(house: House, resource: dict[str, Any], **headers: str) -> Any:
    return house.ask("POST", f"/{resource['resourceType']}", resource, headers=headers)


def without_id(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "id"}


def said(answer: Any) -> list[tuple[str, list[str]]]:
    assert answer.json()["resourceType"] == "OperationOutcome"
    return [(issue["code"], issue.get("expression", [])) for issue in answer.json()["issue"]]


STRANGE = {"If-Match": "x"}

# One resource


def test_a_created_resource_is_answered_with_its_bytes_id_and_version(house: House) -> None:
    answer = house.ask("POST", "/Observation", WHOLE)
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"{BASE}/Observation/{made['id']}/_history/1"
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["last-modified"] == "Sun, 01 Mar 2026 12:00:00 GMT"
    assert made["meta"] == {"versionId": "1", "lastUpdated": "2026-03-01T12:00:00.000Z"}
    assert b'"value":1.10}' in answer.content, "as it was sent"


def test_the_same_create_again_is_the_same_resource(house: House) -> None:
    first, again = house.ask("POST", "/Observation", WHOLE), house.ask("POST", "/Observation", WHOLE)
    assert (again.status_code, again.headers["location"]) == (200, first.headers["location"])


@pytest.mark.parametrize("layout", [{"separators": (",", ":")}, {}, {"indent": 2}, {"indent": 4}])
def test_the_same_update_again_changes_nothing_however_it_is_written(house: House, layout: dict[str, Any]) -> None:
    for resource in (patient("p1"), observation("o1")):
        path, raw = f"/{resource['resourceType']}/{resource['id']}", json.dumps(resource, **layout).encode()
        assert [house.ask("PUT", path, raw).headers["etag"] for _ in range(3)] == ['W/"1"'] * 3
        entry = json.dumps(bundle("batch", put(resource)), **layout).encode()
        assert [house.ask("POST", "", entry).status_code for _ in range(2)] == [200, 200]
        assert house.ask("PUT", path, raw).headers["etag"] == 'W/"1"', "in a Bundle, too"


def test_what_was_entered_in_error_may_be_created_again(house: House) -> None:
    ids = []
    for _ in range(3):
        made = house.ask("POST", "/Observation", WHOLE)
        again = house.ask("POST", "/Observation", WHOLE)
        assert (made.status_code, again.status_code) == (201, 200)
        assert again.json()["id"] == made.json()["id"]
        ids.append(made.json()["id"])
        assert house.ask("DELETE", f"/Observation/{ids[-1]}").status_code == 204
    assert len(set(ids)) == 3


def test_prefer_says_what_comes_back(house: House) -> None:
    minimal = create(house, patient("p1"), Prefer="return=minimal")
    assert (minimal.status_code, minimal.content) == (201, b"")
    assert "location" in minimal.headers
    outcome = create(house, patient("p2"), Prefer="return=OperationOutcome")
    assert said(outcome) == [("informational", [])]
    assert create(house, patient("p3"), Prefer="return=representation").json()["id"]


def test_a_resource_is_updated_under_its_senders_id_or_the_clusters(house: House) -> None:
    first = house.ask("PUT", "/Patient/p1", patient("p1"))
    assert first.status_code == 201
    id_ = first.json()["id"]
    second = house.ask("PUT", f"/Patient/{id_}", patient(id_, family="Maier"))
    assert (second.status_code, second.headers["etag"]) == (200, 'W/"2"')
    third = house.ask("PUT", "/Patient/p1", patient("p1"))
    assert third.headers["location"] == f"{BASE}/Patient/{id_}/_history/3", "back to what it was before"
    again = house.ask("PUT", "/Patient/p1", patient("p1"))
    assert (again.status_code, again.headers["etag"]) == (200, 'W/"3"')


def test_only_the_version_that_if_match_names_is_changed(house: House) -> None:
    house.ask("PUT", "/Patient/p1", patient("p1"))
    change = patient("p1", family="Maier")
    assert house.ask("PUT", "/Patient/p1", change, headers={"If-Match": 'W/"1"'}).headers["etag"] == 'W/"2"'
    assert house.ask("PUT", "/Patient/p1", change, headers={"If-Match": 'W/"1"'}).headers["etag"] == 'W/"2"'
    late = house.ask("PUT", "/Patient/p1", patient("p1", family="X"), headers={"If-Match": 'W/"1"'})
    assert late.status_code == 412
    assert said(late) == [("conflict", ["Patient"])]
    assert house.ask("DELETE", "/Patient/p1", headers={"If-Match": 'W/"1"'}).status_code == 412
    assert house.kept() == []


def test_a_conditional_create_and_update_find_the_patient(house: House) -> None:
    search = "identifier=urn:numbers|77"
    new = without_id(patient("", number="77"))
    first = create(house, new, **{"If-None-Exist": search})
    assert first.status_code == 201
    second = create(house, new | {"gender": "female"}, **{"If-None-Exist": search})
    assert (second.status_code, second.headers["location"]) == (200, first.headers["location"])
    by_query = house.ask("POST", f"/Patient?{search}", new)
    assert (by_query.status_code, by_query.json()["id"]) == (200, first.json()["id"])
    changed = house.ask("PUT", f"/Patient?{search}", new | {"gender": "male"})
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    assert house.ask("PUT", "/Patient?identifier=urn:numbers|78", new | {"identifier": []}).status_code == 400
    other = house.ask("PUT", "/Patient?identifier=urn:numbers|79", without_id(patient("")))
    assert other.status_code == 201


def test_a_conditional_create_and_update_find_a_resource_of_any_type(house: House) -> None:
    house.ask("PUT", "/Patient/p1", patient())
    search = "identifier=urn:samples|7"
    first = create(house, without_id(observation()), **{"If-None-Exist": search})
    second = create(house, without_id(observation(value=2)), **{"If-None-Exist": search})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.headers["location"] == first.headers["location"]
    changed = house.ask("PUT", f"/Observation?{search}", without_id(observation(value=3)))
    assert (changed.status_code, changed.headers["etag"], changed.json()["id"]) == (200, 'W/"2"', first.json()["id"])


def test_a_deletion_is_entered_in_error_and_keeps_what_was(house: House) -> None:
    house.ask("PUT", "/Patient/p1", patient())
    house.ask("PUT", "/Observation/o1", observation())
    gone = house.ask("DELETE", "/Observation/o1")
    assert (gone.status_code, gone.content) == (204, b"")
    assert house.ask("DELETE", "/Observation/o1").status_code == 204
    assert house.ask("PUT", "/Observation/o1", observation(value=2)).status_code == 422
    assert len(house.journals["chart"].log) == 2


@pytest.mark.parametrize(
    ("ask", "status", "issues"),
    [
        (lambda h: h.ask("POST", "/Patient", b"{"), 400, [("structure", [])]),
        (lambda h: h.ask("POST", "/Patient", b""), 400, [("structure", [])]),
        (lambda h: h.ask("POST", "/Patient", b"[]"), 400, [("structure", [])]),
        (lambda h: h.ask("POST", "/Patient", b'{"resourceType":"Banana"}'), 400, [("structure", [])]),
        (
            lambda h: h.ask("POST", "/Patient", {"resourceType": "Patient", "gender": "x", "active": 1}),
            400,
            [("code-invalid", ["Patient.gender"]), ("structure", ["Patient.active"])],
        ),
        (lambda h: h.ask("POST", "/Patient", WHOLE), 400, [("invalid", ["Observation"])]),
        (lambda h: h.ask("PUT", "/Patient/other", patient()), 400, [("invalid", ["Patient.id"])]),
        (lambda h: h.ask("PUT", "/Patient/p1", without_id(patient())), 400, [("required", ["Patient.id"])]),
        (lambda h: h.ask("PUT", "/Patient/a_b", patient("a_b")), 404, [("not-found", [])]),
        (lambda h: h.ask("PUT", "/Patient", patient()), 400, [("required", [])]),
        (lambda h: h.ask("PUT", "/Patient?name=x", patient()), 422, [("processing", ["Patient"])]),
        (lambda h: h.ask("PUT", "/Patient?identifier=a|%00", patient()), 400, [("value", [])]),
        (
            lambda h: h.ask("PUT", "/Patient/p1", patient(), headers={"If-Match": "x"}),
            422,
            [("processing", ["Patient"])],
        ),
        (lambda h: h.ask("POST", "/Observation", observation()), 422, [("not-found", ["Observation.subject"])]),
        (lambda h: h.ask("DELETE", "/Observation/o1"), 404, [("not-found", ["Observation"])]),
        (lambda h: h.ask("POST", "/Patient", patient(), by="reader"), 403, [("forbidden", [])]),
        (lambda h: h.ask("PATCH", "/Patient/p1", b"[]"), 405, [("not-supported", [])]),
        (lambda h: h.ask("POST", "", patient()), 400, [("invalid", ["Patient"])]),
        (lambda h: h.ask("POST", "", bundle("collection", put(patient()))), 400, [("structure", ["Bundle.entry[0]"])]),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    house: House, ask: Callable[[House], Any], status: int, issues: list[tuple[str, list[str]]]
) -> None:
    answer = ask(house)
    found = [one for one in said(answer) if one != ("informational", [])]
    assert (answer.status_code, found) == (status, issues)


# Quarantine


def test_what_is_refused_is_kept_and_its_place_told_as_the_sender_knows_it(house: House) -> None:
    answer = create(house, {"resourceType": "Patient", "gender": "x"})
    assert [issue["severity"] for issue in answer.json()["issue"]] == ["error", "information"]
    assert "kept in quarantine" in answer.json()["issue"][1]["diagnostics"]
    assert house.kept() == [("code-invalid", "Patient.gender")]
    (held,) = house.quarantine.rows()
    assert (held.operator, held.clinic, held.door) == ("charite", "charite/gyn", "http")
    assert b'"gender": "x"' in house.quarantine.original(held).raw


def test_another_operators_patient_is_forbidden_and_kept_until_it_is_shared(house: House) -> None:
    id_ = house.ask("PUT", "/Patient/p1", patient()).json()["id"]
    foreign = house.ask("PUT", "/Observation/o1", observation(to=f"Patient/{id_}"), by="other")
    assert foreign.status_code == 403
    assert house.ask("DELETE", f"/Patient/{id_}", by="other").status_code == 403
    assert house.ask("PUT", f"/Patient/{id_}", patient(id_), by="other").status_code == 403
    assert {code for code, _ in house.kept()} == {"forbidden"}


# Bundles


def put(resource: dict[str, Any], **more: str) -> dict[str, Any]:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url, **more}}


def post(resource: dict[str, Any], full_url: str = "") -> dict[str, Any]:
    entry = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
    return entry | ({"fullUrl": full_url} if full_url else {})


def delete(url: str) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": url}}


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


URN = "urn:uuid:6f8e3b1a-6f0e-4a8e-9d1c-0a4b1f6a2c22"
P2 = "Patient/p2"


def test_a_transaction_goes_in_wholly_and_says_what_came_of_each_entry(house: House) -> None:
    both = bundle("transaction", post(without_id(patient()), URN), post(without_id(observation(to=URN))))
    answer = house.ask("POST", "", both)
    assert answer.status_code == 200
    assert answer.json()["type"] == "transaction-response"
    first, second = (entry["response"] for entry in answer.json()["entry"])
    assert first["status"] == second["status"] == "201 Created"
    assert second["location"].startswith("Observation/")
    assert second["location"].endswith("/_history/1")
    assert first["etag"] == 'W/"1"'
    assert house.ask("POST", "", both).json() == answer.json(), "the first answer"
    whole = house.ask(
        "POST", "/", bundle("transaction", put(patient("p9"))), headers={"Prefer": "return=representation"}
    )
    (entry,) = whole.json()["entry"]
    assert entry["resource"]["name"][0]["family"] == "Meier"
    assert entry["fullUrl"] == f"{BASE}/Patient/{entry['resource']['id']}"


def test_a_transaction_that_is_refused_leaves_nothing(house: House) -> None:
    answer = house.ask("POST", "", bundle("transaction", put(patient()), put(observation(to="Patient/nobody"))))
    assert answer.status_code == 422
    assert said(answer)[0] == ("not-found", ["Bundle.entry[1].resource.subject"])
    assert not house.clinical()
    assert house.kept() == [("not-found", "Bundle.entry[1].resource.subject")]


def test_a_transaction_writes_each_resource_once_under_its_own_id(house: House) -> None:
    again = put(patient(family="Maier"))
    for wrong, status, problem, index in (
        (bundle("transaction", put(patient()), again), 400, "duplicate", 1),
        (bundle("transaction", put(patient()), delete("Patient/p1")), 400, "duplicate", 1),
        (bundle("transaction", put(patient("p2"), url="Patient/p1")), 422, "processing", 0),
    ):
        answer = house.ask("POST", "", wrong)
        assert answer.status_code == status
        assert said(answer)[0] == (problem, [f"Bundle.entry[{index}].request.url"])
    assert not house.clinical()


PATIENT, DOCTOR = {"reference": "Patient/p1"}, {"reference": "Practitioner/d1"}


@pytest.mark.parametrize(
    "resource",
    [
        {
            "resourceType": "Appointment",
            "status": "booked",
            "participant": [{"actor": DOCTOR, "status": "accepted"}, {"actor": PATIENT, "status": "accepted"}],
        },
        {
            "resourceType": "AppointmentResponse",
            "appointment": {"display": "Tuesday"},
            "actor": PATIENT,
            "participantStatus": "accepted",
        },
        {"resourceType": "Person", "link": [{"target": PATIENT}]},
        {
            "resourceType": "SupplyRequest",
            "itemCodeableConcept": {"text": "crutches"},
            "quantity": {"value": 2},
            "deliverTo": PATIENT,
        },
    ],
    ids=lambda resource: resource["resourceType"],
)
def test_what_names_its_patient_elsewhere_belongs_to_the_patient_too(house: House, resource: dict[str, Any]) -> None:
    known = house.ask("PUT", "/Patient/p1", patient("p1")).json()["id"]
    assert create(house, resource).status_code == 201
    assert [str(subject) for subject, _ in house.journals["chart"].log] == [known]


def test_what_reports_on_a_patients_resource_belongs_to_the_patient_too(house: House) -> None:
    known = house.ask("PUT", "/Patient/p1", patient("p1")).json()["id"]
    provenance = {"resourceType": "Provenance", "recorded": "2026-03-01T12:00:00Z", "agent": [{"who": DOCTOR}]}
    provenance["target"] = [{"reference": URN}]
    both = bundle("transaction", post(provenance), post(without_id(observation()), URN))
    assert house.ask("POST", "", both).status_code == 200
    assert [(str(subject), event.type) for subject, event in house.journals["chart"].log] == [
        (known, "chart.ResourceRecorded")
    ] * 2


def test_a_transaction_of_updates_may_go_back(house: House) -> None:
    one, two = bundle("transaction", put(patient())), bundle("transaction", put(patient(family="Maier")))
    etags = [house.ask("POST", "", b).json()["entry"][0]["response"]["etag"] for b in (one, two, one, one)]
    assert etags == ['W/"1"', 'W/"2"', 'W/"3"', 'W/"3"']


def test_a_transaction_with_a_version_that_is_gone_is_refused_whole(house: House) -> None:
    house.ask("PUT", "/Patient/p1", patient())
    late = bundle("transaction", put(patient("p2")), put(patient(family="X"), ifMatch='W/"7"'))
    assert house.ask("POST", "", late).status_code == 412
    assert len(house.journals["registration"].log) == 1


def test_every_entry_needs_its_scope(house: House) -> None:
    answer = house.ask("POST", "", bundle("transaction", put(patient())), by="reader")
    assert (answer.status_code, said(answer)) == (403, [("forbidden", ["Bundle.entry[0]"])])


@pytest.mark.parametrize("last", [put(observation(to=P2)), post(without_id(observation(to=P2))), delete(P2)])
def test_what_a_client_may_do_to_one_type_it_may_not_do_to_another(house: House, last: dict[str, Any]) -> None:
    entries = put(patient("p2")), put(patient("p3")), last
    answer = house.ask("POST", "", bundle("transaction", *entries), by="desk")
    assert (answer.status_code, said(answer)) == (403, [("forbidden", ["Bundle.entry[2]"])])
    assert not house.clinical()
    answer = house.ask("POST", "", bundle("batch", *entries), by="desk")
    assert [entry["response"]["status"][:3] for entry in answer.json()["entry"]] == ["201", "201", "403"]


def test_each_entry_of_a_batch_is_answered_alone(house: House) -> None:
    wrong = {"resourceType": "Patient", "id": "w", "gender": "x"}
    entries = [
        put(patient()),
        put(wrong),
        put(observation(to="Patient/nobody")),
        {"request": {"method": "GET", "url": "Nowhere/1"}},
        delete("Observation/o7"),
        put(observation()),
        delete("Observation/o1"),
        {"request": {"method": "PATCH", "url": "Patient/p1"}},
        {"request": {"method": "GET", "url": "https://elsewhere.example/fhir/Patient/p1"}},
    ]
    answer = house.ask("POST", "", bundle("batch", *entries))
    assert answer.json()["type"] == "batch-response"
    responses = [entry["response"] for entry in answer.json()["entry"]]
    assert [response["status"].split()[0] for response in responses] == [
        "201",
        "400",
        "422",
        "404",
        "404",
        "201",
        "204",
        "422",
        "404",
    ]
    outcomes = [response["outcome"]["issue"][0] for response in responses if "outcome" in response]
    assert [issue.get("expression") for issue in outcomes] == [
        ["Bundle.entry[1].resource.gender"], ["Bundle.entry[2].resource.subject"], None,
        ["Bundle.entry[4].request.url"], ["Bundle.entry[7].request.method"], None,
    ]  # fmt: skip


def test_a_batch_of_nothing_is_answered_without_an_empty_list(house: House) -> None:
    answer = house.ask("POST", "", {"resourceType": "Bundle", "type": "batch"})
    assert answer.json() == {"resourceType": "Bundle", "type": "batch-response"}


def test_a_get_in_a_batch_is_answered_by_what_its_entry_says(house: House) -> None:
    """Not by the headers of the batch; and what is no resource (OpenAPI's description) is in no Bundle."""
    asked: list[tuple[str, str]] = []

    def read(call: Call) -> Answer:
        asked.append((call.path["id"], call.headers["if-none-match"]))
        return Answer(status=304, version=3)

    house.interactions.append(Interaction(method="GET", path="/{type}/{id}", handler=read, letter="r"))
    entries = [
        {"request": {"method": "GET", "url": "Patient/p1"}},
        {"request": {"method": "GET", "url": "Patient/p2", "ifNoneMatch": 'W/"3"'}},
        {"request": {"method": "GET", "url": "openapi.json"}},
    ]
    answer = house.ask("POST", "", bundle("batch", *entries), headers={"If-None-Match": 'W/"1"'})
    assert asked == [("p1", ""), ("p2", 'W/"3"')]
    first, second, third = answer.json()["entry"]
    assert first == second == {"response": {"status": "304 Not Modified", "etag": 'W/"3"'}}
    assert third["response"]["status"] == "404 Not Found"


# Messages and validation


def message(id_: str = "m1", **more: Any) -> dict[str, Any]:
    header = {
        "resourceType": "MessageHeader",
        "id": id_,
        "eventCoding": {"system": "urn:events", "code": "admit"},
        "source": {"endpoint": "urn:his"},
    }
    return bundle("message", {"resource": header | more}, {"resource": patient()})


def test_a_message_is_taken_in_once_by_its_header(house: House) -> None:
    first = house.ask("POST", "/$process-message", message())
    header = first.json()["entry"][0]["resource"]
    assert header["response"] == {"identifier": "m1", "code": "ok"}
    assert header["eventCoding"] == {"system": "urn:events", "code": "admit"}
    events = len(house.journals["registration"].log)
    again = house.ask("POST", "/$process-message", message(reason={"text": "resent"}))
    assert again.json() == first.json()
    assert len(house.journals["registration"].log) == events == 1
    assert house.kept() == []


@pytest.mark.parametrize(
    "other",
    [
        message(eventCoding={"system": "urn:events", "code": "discharge"}),
        bundle("message", message()["entry"][0], {"resource": patient("p2")}),
    ],
)
def test_another_message_under_a_used_id_gets_the_first_answer_and_is_kept(house: House, other: dict[str, Any]) -> None:
    first = house.ask("POST", "/$process-message", message()).json()["entry"][0]
    for _ in range(2):
        again = house.ask("POST", "/$process-message", other).json()["entry"][0]
        assert (again["fullUrl"], again["resource"]["response"]) == (first["fullUrl"], first["resource"]["response"])
    assert house.kept() == [("duplicate", "Bundle.entry[0].resource.id")]
    (held,) = house.quarantine.rows()
    assert house.quarantine.original(held).name is None, "sent again from there, it is a message of its own"


@pytest.mark.parametrize("wrong", [patient(), bundle("message", {"resource": patient()}), bundle("message")])
def test_what_is_no_message_is_refused(house: House, wrong: dict[str, Any]) -> None:
    assert house.ask("POST", "/$process-message", wrong).status_code == 400


def test_validation_tells_all_and_takes_nothing_in(house: House) -> None:
    good = house.ask("POST", "/Patient/$validate", patient())
    assert (good.status_code, said(good)) == (200, [("informational", [])])
    bad = house.ask("POST", "/$validate", {"resourceType": "Patient", "gender": "x", "active": 1})
    assert (bad.status_code, len(said(bad))) == (200, 2)
    assert house.ask("POST", "/Patient/$validate", b"{").status_code == 200
    assert house.ask("POST", "/Observation/$validate", patient()).status_code == 400
    given = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": patient() | {"gender": "x"}}]}
    for path in ("/$validate", "/Patient/$validate"):
        assert said(house.ask("POST", path, given)) == [("code-invalid", ["Patient.gender"])]
    profile = house.ask("POST", "/Patient/$validate?profile=urn:p", patient())
    assert (profile.status_code, said(profile)) == (400, [("not-supported", [])])
    assert house.kept() == []
    assert not house.clinical()


def test_a_value_that_was_sent_is_never_repeated(house: House) -> None:
    secret = "Zaphod"
    for resource in (
        {"resourceType": "Patient", "name": [{"family": secret, "x" + secret: 1}]},
        {"resourceType": "Patient", "gender": secret},
        {"resourceType": "Observation", "status": secret},
    ):
        answer = house.ask("POST", f"/{resource['resourceType']}", resource)
        assert answer.status_code == 400
        assert secret not in answer.text + json.dumps(dict(answer.headers))
