"""Reading over HTTP, on real servers: what clinics see and what not, and what is said where something is missing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.json import format as indented
from starlette.testclient import TestClient

from epicrisis import assembly
from epicrisis.assembly import history_of
from epicrisis.doors.fhir_http.answers import told
from epicrisis.doors.fhir_http.app import Door, Interaction
from epicrisis.doors.fhir_http.assembled import reading
from epicrisis.doors.fhir_http.caller import Caller, scopes
from epicrisis.doors.fhir_http.capability import TYPE, Capability
from epicrisis.doors.fhir_http.limits import Allowance, Room
from epicrisis.doors.fhir_http.openapi import OpenApi
from epicrisis.doors.fhir_http.query import accepted
from epicrisis.doors.fhir_http.written import Written
from epicrisis.fhir.gate import Gate
from epicrisis.replay import When
from epicrisis.serve import _listening
from epicrisis.settings import Settings
from epicrisis.versions import rows_of
from tests.fuzz.http import fuzz
from tests.kernel_support import Pipeline, bundle, condition, observation, own_namespace, patient, wait_until

pytestmark = pytest.mark.servers
HERE, THERE = "charite/gyn", "amc/onc"
BASE = "http://testserver/fhir"
VITAL = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}
AMBULATORY = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}

CALLERS = {
    "Bearer here": Caller(client="here", operator="charite", clinic=HERE, scopes=scopes("system/*.cruds")),
    "Bearer there": Caller(client="there", operator="amc", clinic=THERE, scopes=scopes("system/*.cruds")),
    "Bearer few": Caller(client="few", operator="charite", clinic=HERE, scopes=scopes("system/Patient.rs")),
}


def encounter(own_id: str = "e1", to: str = "Patient/p1") -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": own_id,
        "status": "finished",
        "class": AMBULATORY,
        "subject": {"reference": to},
        "period": {"start": "2026-01-10T08:00:00Z", "end": "2026-01-10T09:00:00Z"},
        "serviceProvider": {"reference": "Organization/org"},
    }


def weight(own_id: str, value: str, day: str, *, to: str = "Patient/p1") -> dict[str, Any]:
    return observation(own_id, to=to) | {
        "valueQuantity": {"value": f"DECIMAL{value}", "unit": "kg"},
        "effectiveDateTime": day,
        "encounter": {"reference": "Encounter/e1"},
        "category": [VITAL],
        "code": {
            "coding": [{"system": "urn:charite:lab", "code": "W"}, {"system": "http://loinc.org", "code": "29463-7"}]
        },
    }


def sent(*resources: dict[str, Any], delete: tuple[str, ...] = ()) -> bytes:
    """A message whose decimals have the digits that they are written with."""
    text = bundle(*resources, delete=delete).decode()
    for value in ("1.10", "70.0", "71.50"):
        text = text.replace(f'"DECIMAL{value}"', value)
    return text.encode()


class Site:
    """A cluster in this process, and what its people ask over HTTP."""

    def __init__(self, cluster: Settings, running: Pipeline) -> None:
        self.settings, self.running = cluster, running
        self.written = Written()
        self.interactions: list[Interaction] = reading(cluster, self.written)
        self.interactions += Capability(self.interactions).interactions()
        self.interactions += OpenApi(self.interactions).interactions()
        self.app = Door(
            base=BASE,
            interactions=self.interactions,
            who=self._who,
            recorder=assembly.recorder(cluster),
            room=Room(Allowance(client=64, all=64)),
        ).app()
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def _who(self, header: str) -> Caller:
        if header not in CALLERS:
            raise told(401, "login", "no such caller")
        return CALLERS[header]

    def ask(self, path: str, who: str = "here", **headers: str) -> Any:
        return self.client.get(f"/fhir/{path}", headers={"Authorization": f"Bearer {who}", **headers})

    def get(self, path: str, who: str = "here") -> dict[str, Any]:
        answer = self.ask(path, who)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def found(self, path: str, who: str = "here") -> list[str]:
        """What a search finds, named by the last part of what tells it apart."""
        return [name(entry["resource"]) for entry in self.get(path, who).get("entry", [])]

    def subject(self, own_id: str = "p1", who: str = "here") -> str:
        return str(self.get(f"Patient/{own_id}", who)["id"])

    def admin(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.admin_dsn(self.settings.database("cluster")), autocommit=True) as connection:
            done = connection.execute(query, values)  # type: ignore[arg-type]
            return done.fetchall() if done.description else []


def name(resource: dict[str, Any]) -> str:
    """How these tests call a resource."""
    kind: str = resource["resourceType"]
    match kind:
        case "Observation":
            return f"{resource['valueQuantity']['value']} kg"
        case "Patient":
            return str(resource["name"][0]["family"])
        case _:
            return kind


@pytest.fixture(scope="module")
def site(servers: dict[str, Any]) -> Iterator[Site]:
    with own_namespace(servers) as cluster, Pipeline(cluster) as running:
        organization = {"resourceType": "Organization", "id": "org", "name": "Charité Mitte", "active": True}
        mueller = patient(
            number="123",
            family="von Müller",
            gender="female",
            name=[{"use": "official", "family": "von Müller", "given": ["Ada"]}, {"use": "maiden", "family": "Wolf"}],
        )
        some = [weight("o1", "1.10", "2026-01-10T08:30:00Z"), weight("o2", "70.0", "2026-02")]
        running.send(sent(organization, mueller, encounter(), condition(), *some), clinic=HERE)
        running.send(indented(sent(weight("o2", "71.50", "2026-02")), indent=2), clinic=HERE)
        running.send(sent(patient(family="Dort", number="123"), condition(), observation()), clinic=THERE)
        running.send(sent(patient("p2", family="Erased"), observation("x1", to="Patient/p2")), clinic=HERE)
        running.send(sent(patient("p3", family="Mistaken"), condition("c3", to="Patient/p3")), clinic=HERE)
        running.send(sent(delete=("Condition/c3",)), clinic=HERE)
        running.send(sent(observation("x3", to="Patient/p3")), clinic=HERE)
        running.send(sent(observation("x3", to="Patient/p3") | {"status": "entered-in-error"}), clinic=HERE)
        running.wait()
        yield Site(cluster, running)


# Reading one resource


def test_a_resource_is_read_by_its_own_id_and_by_the_clusters(site: Site) -> None:
    by_own = site.ask("Observation/o1")
    by_cluster = site.ask(f"Observation/{by_own.json()['id']}")
    assert by_own.status_code == 200
    assert by_own.content == by_cluster.content
    assert by_own.headers["etag"] == 'W/"1"'
    assert "GMT" in by_own.headers["last-modified"]


def test_what_was_sent_comes_back_byte_for_byte_but_for_id_references_and_meta(site: Site) -> None:
    raw = site.ask("Observation/o1").content
    assert b'"value": 1.10,' in raw
    assert json.loads(raw)["subject"]["reference"] == f"Patient/{site.subject()}"


def test_in_a_bundle_a_resource_comes_without_its_indentation(site: Site) -> None:
    alone, entry = site.ask("Observation/o2").content, site.ask("Observation?_id=o2").content
    assert b'\n          "value": 71.50,' in alone
    assert indented(alone, indent=-1) in entry
    for whole in ("Patient/p1/$everything", "Observation/o2/_history?_count=1", "_history?patient=p1"):
        assert b"71.50" in (raw := site.ask(whole).content)
        assert b"\n" not in raw


def test_every_version_can_be_read(site: Site) -> None:
    assert site.ask("Observation/o2").headers["etag"] == 'W/"2"'
    assert b"70.0" in site.ask("Observation/o2/_history/1").content
    assert b"71.50" in site.ask("Observation/o2/_history/2").content
    for number in ("0", "3", "x", "99999999999"):
        assert site.ask(f"Observation/o2/_history/{number}").status_code == 404


def test_a_client_that_has_the_newest_version_is_not_sent_it_again(site: Site) -> None:
    answer = site.ask("Observation/o2", **{"If-None-Match": 'W/"2"'})
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_deleted_resource_is_gone_and_its_versions_stay(site: Site) -> None:
    answer = site.ask("Condition/c3")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (410, "deleted")
    assert site.ask("Condition/c3/_history/1").status_code == 200
    assert site.found("Condition?patient=p3") == []
    newest = site.get("Condition/c3/_history")["entry"][0]
    assert newest["request"]["method"] == "DELETE"
    assert "resource" not in newest


def test_a_version_that_says_that_it_was_a_mistake_can_be_read_but_is_not_found(site: Site) -> None:
    assert site.get("Observation/x3")["status"] == "entered-in-error"
    assert site.found("Observation?patient=p3") == []


# Who sees what


def test_a_clinic_sees_its_own_patients_only_and_everybody_the_directory(site: Site) -> None:
    id_ = site.get("Observation/o1")["id"]
    organization = site.get("Organization/org")["id"]
    for path in (f"Patient/{site.subject()}", f"Observation/{id_}", f"Observation/{id_}/_history", "Patient/p2"):
        assert site.ask(path, "there").status_code == 404
    assert site.found("Patient", "there") == ["Dort"]
    assert site.found(f"Observation?patient={site.subject()}", "there") == []
    assert site.found("Observation/_history", "there") == ["1 kg"]
    assert site.get(f"Organization/{organization}", "there")["name"] == "Charité Mitte"
    assert site.found("Organization?name=CHARITE", "there") == ["Organization"]
    assert site.ask(f"Patient/{site.subject()}/$everything", "there").status_code == 404
    assert site.ask(f"_history?patient={site.subject()}", "there").status_code == 404


def test_an_identifier_is_the_operators_own(site: Site) -> None:
    assert site.found("Patient?identifier=urn:numbers|123") == ["von Müller"]
    assert site.found("Patient?identifier=urn:numbers|123", "there") == ["Dort"]


def test_a_scope_bounds_every_way_of_reading(site: Site) -> None:
    assert site.ask("Patient/p1", "few").status_code == 200
    assert site.ask("Observation/o1", "few").status_code == 403
    assert site.ask("Patient/p1/Observation", "few").status_code == 403
    assert site.found("Patient/p1/$everything", "few") == ["von Müller"]
    assert site.found("_history?patient=p1", "few") == ["von Müller"]
    assert site.ask("Patient/p1", "nobody").status_code == 401


# Searching


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Observation?patient=p1", ["1.1 kg", "71.5 kg"]),
        ("Observation?subject=Patient/p1&code=http://loinc.org|29463-7&_sort=date", ["1.1 kg", "71.5 kg"]),
        ("Observation?patient=p1&code=W&_sort=-date", ["71.5 kg", "1.1 kg"]),
        ("Observation?patient=p1&code=http://loinc.org|W", []),
        ("Observation?patient=p1&category=vital-signs&date=ge2026-02", ["71.5 kg"]),
        ("Observation?patient=p1&date=2026-01-10", ["1.1 kg"]),
        ("Observation?patient=p1&date=lt2026-02&date=gt2026-01-10T08:00:00Z", ["1.1 kg"]),
        ("Observation?patient=p1&status=final,amended&status=amended", []),
        ("Observation?encounter=e1&date=2026-02", ["71.5 kg"]),
        ("Observation?encounter=Encounter/nobody", []),
        ("Observation?patient.identifier=urn:numbers|123&date=sa2026-01", ["71.5 kg"]),
        ("Observation?patient=nobody", []),
        ("Observation?_id=o1,o2&_sort=-_lastUpdated", ["71.5 kg", "1.1 kg"]),
        ("Observation?_id=o1&_lastUpdated=ge2026-01-01", ["1.1 kg"]),
        ("Observation?_id=o1&_lastUpdated=lt2026-01-01", []),
        ("Patient/p1/Encounter", ["Encounter"]),
        ("Encounter?patient=p1&class=AMB&date=2026-01-10&status=finished", ["Encounter"]),
        ("Condition?patient=p1&verification-status=provisional", ["Condition"]),
        ("Condition?patient=p1&code=http://hl7.org/fhir/sid/icd-10|C50.4", ["Condition"]),
        ("Patient?family=MULLER", ["von Müller"]),
        ("Patient?family=von m", ["von Müller"]),
        ("Patient?name=wolf&given=ad&birthdate=1971&gender=female", ["von Müller"]),
        ("Patient?name=wolf&gender=male", []),
        ("Patient?birthdate=lt1971-03-04", []),
        ("Organization?name=mitte&active=true", ["Organization"]),
    ],
)
def test_a_search_finds_what_fits_and_nothing_else(site: Site, query: str, found: list[str]) -> None:
    assert sorted(site.found(query)) == sorted(found) if "_sort" not in query else site.found(query) == found


def test_a_name_is_searched_for_in_the_body_of_a_post(site: Site) -> None:
    headers = {"Authorization": "Bearer here"}
    answer = site.client.post("/fhir/Patient/_search", data={"family": "müller"}, headers=headers)
    assert [name(e["resource"]) for e in answer.json()["entry"]] == ["von Müller"]
    wrong = site.client.post("/fhir/Patient/_search", content=b"family=\xff", headers=headers)
    assert wrong.status_code in (400, 415)


@pytest.mark.parametrize("sort", ["_id", "-_id", "date", "-date", "_lastUpdated", "-_lastUpdated"])
def test_pages_show_everything_once_in_order(site: Site, sort: str) -> None:
    whole = [e["fullUrl"] for e in site.get(f"Observation?_sort={sort}")["entry"]]
    seen: list[str] = []
    page = site.get(f"Observation?_sort={sort}&_count=1")
    while True:
        seen += [e["fullUrl"] for e in page["entry"]]
        links = {link["relation"]: link["url"] for link in page["link"]}
        if "next" not in links:
            break
        page = site.get(links["next"].removeprefix(f"{BASE}/"))
    assert seen == whole
    assert len(seen) >= 3


def test_a_page_is_of_no_use_to_another_clinic(site: Site) -> None:
    links = {link["relation"]: link["url"] for link in site.get("Observation?_count=1")["link"]}
    assert site.ask(links["next"].removeprefix(f"{BASE}/"), "there").status_code == 400


def test_how_many_there_are_is_counted_where_it_is_asked_for(site: Site) -> None:
    assert site.get("Observation?patient=p1&_summary=count") == {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 2,
        "link": [{"relation": "self", "url": f"{BASE}/Observation?patient=p1&_summary=count"}],
    }
    assert site.get("Observation?patient=p1&_total=accurate&_count=1")["total"] == 2


def test_what_a_match_refers_to_comes_with_it(site: Site) -> None:
    path = "Observation?_id=o1&_include=Observation:encounter&_include=Observation:patient"
    found = {name(e["resource"]): e["search"]["mode"] for e in site.get(path)["entry"]}
    assert found == {"1.1 kg": "match", "Encounter": "include", "von Müller": "include"}
    all_of_it = f"Observation?_id={site.get('Observation/o1')['id']}&_include=Observation:*"
    assert len(site.found(all_of_it)) == 3
    assert site.found(all_of_it, "there") == []


# Whole charts and histories


def test_everything_is_the_patient_first_and_what_it_refers_to_in_the_directory(site: Site) -> None:
    page = site.get("Patient/p1/$everything")
    names = [name(e["resource"]) for e in page["entry"]]
    assert names[0] == "von Müller"
    assert sorted(names[1:-1]) == ["1.1 kg", "71.5 kg", "Condition", "Encounter"]
    assert names[-1] == "Organization"
    assert page["total"] == 5
    assert site.found("Patient/p1/$everything?_type=Condition,Encounter&_since=2020-01-01") != []
    assert site.found("Patient/p1/$everything?_since=2999") == []


def test_everything_can_be_asked_for_by_post(site: Site) -> None:
    given = [{"name": "_type", "valueCode": kind} for kind in ("Condition", "Encounter")]
    asked = {"resourceType": "Parameters", "parameter": given}
    headers = {"Authorization": "Bearer here", "Content-Type": "application/fhir+json"}
    answer = site.client.post("/fhir/Patient/p1/$everything", content=json.dumps(asked), headers=headers)
    assert {name(e["resource"]) for e in answer.json()["entry"]} == {"Condition", "Encounter"}
    for wrong in ("[]", '{"parameter": 1}', "{"):
        refused = site.client.post("/fhir/Patient/p1/$everything", content=wrong, headers=headers)
        assert refused.status_code == 400


def test_everything_comes_in_pages(site: Site) -> None:
    path, seen = "Patient/p1/$everything?_count=2", list[str]()
    while path:
        page = site.get(path)
        seen += [e["fullUrl"] for e in page["entry"] if e["search"]["mode"] == "match"]
        path = next((link["url"].removeprefix(f"{BASE}/") for link in page["link"] if link["relation"] == "next"), "")
    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize("path", ["Observation/o2/_history", "Observation/_history", "_history?patient=p1"])
def test_a_history_shows_all_versions_newest_first_in_pages(site: Site, path: str) -> None:
    sign = "&" if "?" in path else "?"
    whole = [(e["fullUrl"], e["response"]["etag"]) for e in site.get(f"{path}{sign}_count=100")["entry"]]
    seen, page = list[tuple[str, str]](), site.get(f"{path}{sign}_count=1")
    while True:
        seen += [(e["fullUrl"], e["response"]["etag"]) for e in page.get("entry", [])]
        onward = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not onward:
            break
        page = site.get(onward[0].removeprefix(f"{BASE}/"))
    assert seen == whole
    url = f"{BASE}/Observation/{site.get('Observation/o2')['id']}"
    assert [etag for full, etag in seen if full == url] == ['W/"2"', 'W/"1"']


# What was, and where it comes from


def moments(site: Site, path: str) -> list[str]:
    """When the versions of a resource were recorded, the oldest first."""
    return [entry["response"]["lastModified"] for entry in reversed(site.get(f"{path}/_history")["entry"])]


def later(moment: str) -> str:
    """The next millisecond: instants are written to the millisecond."""
    return (datetime.fromisoformat(moment) + timedelta(milliseconds=1)).isoformat().replace("+00:00", "Z")


def etags(bundle: dict[str, Any]) -> list[str]:
    return [entry["response"]["etag"] for entry in bundle.get("entry", [])]


def test_a_history_shows_what_was_current_at_some_time(site: Site) -> None:
    first, second = moments(site, "Observation/o2")
    for at, there in (
        ("2020-01-01", []),
        (first, ['W/"1"']),
        (later(second), ['W/"2"']),
        (second[:4], ['W/"2"', 'W/"1"']),
        ("2999", ['W/"2"']),
    ):
        assert etags(site.get(f"Observation/o2/_history?_at={at}")) == there, at
    assert etags(site.get(f"Observation/o2/_history?_at={second[:4]}&_since={second}")) == ['W/"2"']
    page = site.get(f"Observation/o2/_history?_at={second[:4]}&_count=1")
    (onward,) = [link["url"] for link in page["link"] if link["relation"] == "next"]
    assert etags(page) + etags(site.get(onward.removeprefix(f"{BASE}/"))) == ['W/"2"', 'W/"1"']
    for path in ("_history?patient=p1&", "Observation/_history?"):
        then = {e["fullUrl"]: e["response"]["etag"] for e in site.get(f"{path}_at={first}")["entry"]}
        assert then[f"{BASE}/Observation/{site.get('Observation/o2')['id']}"] == 'W/"1"'
    assert site.ask("Observation/o2/_history?_at=yesterday").status_code == 400


def test_everything_as_it_was_is_the_fold_of_the_ledger(site: Site) -> None:
    first, second = moments(site, "Observation/o2")
    weights = {first: {1.1, 70.0}, second: {1.1, 71.5}}
    for at, expected in weights.items():
        for answer in (site.get(f"Patient/p1/$everything?_at={at}"), asked_by_post(site, at)):
            found = [entry["resource"] for entry in answer["entry"]]
            assert {r["valueQuantity"]["value"] for r in found if r["resourceType"] == "Observation"} == expected
            known = history_of(site.settings, UUID(site.subject()), When(known_at=datetime.fromisoformat(later(at))))
            folded = {(r.resource_type, str(r.resource_id), r.version) for r in rows_of(known or ())}
            mine = {(r["resourceType"], r["id"], int(r["meta"]["versionId"])) for r in found}
            assert {one for one in mine if one[0] != "Organization"} == folded
    now = site.get(f"Patient/p1/$everything?_at={second[:4]}-12-31T23:59:59Z")
    assert now["entry"] == site.get("Patient/p1/$everything")["entry"]
    assert "70.0" in site.ask(f"Patient/p1/$everything?_at={first}").text  # as it was sent
    assert site.get("Patient/p1/$everything?_at=2020-01-01T00:00:00Z")["total"] == 0
    early = site.get("Patient/p1/$everything?_asOf=2026-01-10T08:30:00Z&_type=Observation")["entry"]
    assert [e["resource"]["valueQuantity"]["value"] for e in early] == [1.1]
    assert site.ask("Patient/p1/$everything?_at=2026-01-01").status_code == 400
    assert site.ask(f"Patient/{site.subject()}/$everything?_at={first}", "there").status_code == 404


def asked_by_post(site: Site, at: str) -> dict[str, Any]:
    given = [{"name": "_at", "valueInstant": at}]
    answer = site.client.post(
        "/fhir/Patient/p1/$everything",
        content=json.dumps({"resourceType": "Parameters", "parameter": given}),
        headers={"Authorization": "Bearer here", "Content-Type": "application/fhir+json"},
    )
    found: dict[str, Any] = answer.json()
    return found


def test_each_version_says_where_it_comes_from(site: Site) -> None:
    raw = site.ask("Observation/o2/_history?_revinclude=Provenance:target").content
    assert len(Gate().check(raw).entries) == 4
    entries = json.loads(raw)["entry"]
    assert [e["request"]["url"].partition("/")[0] for e in entries] == ["Observation"] * 2 + ["Provenance"] * 2
    newest, oldest = (e["resource"] for e in entries[2:])
    id_ = site.get("Observation/o2")["id"]
    assert newest["target"] == [{"reference": f"Observation/{id_}/_history/2"}]
    assert [p["activity"]["coding"][0]["code"] for p in (newest, oldest)] == ["UPDATE", "CREATE"]
    author = newest["agent"][0]
    assert author["who"]["identifier"] == {"system": "urn:epicrisis:clinic", "value": HERE}
    assert author["onBehalfOf"]["identifier"] == {"system": "urn:epicrisis:operator", "value": "charite"}
    subject, n = newest["id"].split(".")
    assert subject == site.subject()
    known = {fact.n: fact.meta for fact in history_of(site.settings, UUID(subject)) or ()}
    meta = known[int(n)]
    assert [e["what"]["identifier"]["value"] for e in newest["entity"]] == [
        f"urn:uuid:{meta.message}",
        f"urn:uuid:{meta.id}",
    ]
    assert site.get(f"Provenance/{newest['id']}") == newest
    assert site.ask(f"Provenance/{newest['id']}").headers["etag"] == 'W/"1"'
    for target, numbers in ((f"Observation/{id_}", [2, 1]), ("Observation/o2/_history/1", [1]), ("Observation/no", [])):
        answer = site.get(f"Provenance?target={target}")
        assert [e["resource"]["target"][0]["reference"] for e in answer.get("entry", [])] == [
            f"Observation/{id_}/_history/{number}" for number in numbers
        ]
        assert answer["total"] == len(numbers)
    with_it = site.get("Observation?patient=p1&_revinclude=Provenance:target")["entry"]
    assert [e["search"]["mode"] for e in with_it] == ["match"] * 2 + ["include"] * 2
    assert {e["resource"]["target"][0]["reference"].split("/")[-1] for e in with_it[2:]} == {"1", "2"}


def test_where_a_version_comes_from_is_told_to_whom_may_see_it(site: Site) -> None:
    id_ = site.get("Observation/o2/_history?_revinclude=Provenance:target")["entry"][-1]["resource"]["id"]
    assert site.ask(f"Provenance/{id_}", "there").status_code == 404
    assert site.ask(f"Provenance/{id_}", "few").status_code == 403
    assert site.found("Provenance?target=Observation/o2", "there") == []
    assert len(site.get("Patient/p1/_history?_revinclude=Provenance:target", "few")["entry"]) == 1
    assert site.ask(f"Provenance/{site.subject()}.999").status_code == 404
    assert site.ask("Observation/o2/_history?_revinclude=Condition:subject").status_code == 400


def test_a_deletion_has_a_provenance_and_the_whole_passes_the_gate(site: Site) -> None:
    raw = site.ask("_history?patient=p3&_revinclude=Provenance:target").content
    Gate().check(raw)
    found = [e["resource"] for e in json.loads(raw)["entry"] if e["request"]["url"].startswith("Provenance/")]
    assert "NULLIFY" in {one["activity"]["coding"][0]["code"] for one in found}


# What is missing is said


def test_what_waits_before_the_chart_is_said(site: Site) -> None:
    subject = site.subject("p3")
    (schema,) = site.admin("SELECT schema FROM projection.generation WHERE projection = 'cluster_chart'")[0]
    site.admin(
        'INSERT INTO projection.parked (consumer, subject, partition, "offset", source, seq, reason, value)'
        " VALUES (%s, %s, 0, 0, 'chart', 99, 'test', '')",
        schema,
        subject,
    )
    try:
        assert "wait to be applied" in site.ask("Observation/x3").headers["warning"]
        for path in (
            "Observation?patient=p3",
            "Patient/p3/$everything",
            "_history?patient=p3",
            "Condition/c3/_history",
        ):
            outcome = site.get(path)["entry"][-1]["resource"]
            assert [i["code"] for i in outcome["issue"]] == ["incomplete"]
    finally:

        def freed() -> bool:
            """These reads are events of the patient, too, and wait behind the planted one, some of them later."""
            site.admin("DELETE FROM projection.parked WHERE subject = %s", subject)
            return "warning" not in site.ask("Observation/x3").headers

        wait_until(freed, "nothing waits before the chart")


def test_an_erased_patients_record_is_gone_and_left_out_aloud(site: Site) -> None:
    subject = site.subject("p2")
    with psycopg.connect(site.settings.admin_dsn(site.settings.database("keys")), autocommit=True) as connection:
        connection.execute("UPDATE keys.data_key SET wrapped = NULL, destroyed = now() WHERE subject = %s", (subject,))
    later = Site(site.settings, site.running)  # another process: keys are kept in memory for a while
    assert later.ask("Patient/p2").status_code == 410
    entries = later.get("Patient/p2/$everything")["entry"]
    assert [e["search"]["mode"] for e in entries] == ["outcome"]
    found = {name(e["resource"]) for e in later.get("Patient")["entry"]}
    assert found - {"Written"} == {"von Müller", "Mistaken", "OperationOutcome"}


def test_a_client_reads_what_it_has_just_written(site: Site) -> None:
    for number in range(5):
        raw = sent(patient("w", family="Written"), observation(f"w{number}", number, to="Patient/w"))
        receipt = site.running.send(raw, clinic=HERE)
        site.written.note("here", receipt.entries)
        assert site.get(f"Observation/w{number}")["valueQuantity"]["value"] == number


def test_what_cannot_be_read_yet_is_not_said_to_be_absent(site: Site) -> None:
    with stopped_clock(site.written):
        for path, status in (("Observation/nothing", 503), ("Observation/o1", 200), ("Observation?patient=p1", 200)):
            site.written.note("here", [outcome_of(UUID(int=7))])
            answer = site.ask(path)
            assert answer.status_code == status
            assert "cannot be read yet" in answer.text + answer.headers.get("warning", "")
    assert site.ask("Observation/nothing").status_code == 404


def outcome_of(id_: UUID) -> Any:
    from epicrisis.intake.receipt import Outcome

    return Outcome("Observation", str(id_), 1, "created")


@contextmanager
def stopped_clock(written: Written) -> Iterator[None]:
    """Waits take no time."""
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += 1

    clock, before = written._clock, written._pause
    written._clock, written._pause = lambda: now[0], pause
    try:
        yield
    finally:
        written._clock, written._pause = clock, before


def test_a_chart_of_an_earlier_release_is_said_to_be_rebuilt_first(site: Site) -> None:
    site.admin("ALTER VIEW read.cluster_chart_seen RENAME TO cluster_chart_away")
    try:
        for path in ("Observation/o1", "Observation?patient=p1", "Patient/p1/$everything"):
            answer = site.ask(path)
            assert answer.status_code == 503
            assert "epicrisis rebuild cluster_chart" in answer.text
    finally:
        site.admin("ALTER VIEW read.cluster_chart_away RENAME TO cluster_chart_seen")
    assert site.ask("Observation/o1").status_code == 200


def test_an_answer_does_not_wait_for_the_one_who_asked() -> None:
    with _listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted_one, _ = listener.accept()
        with accepted_one:
            assert accepted_one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# What works, and what does not


def test_metadata_is_true(site: Site) -> None:
    (rest,) = site.client.get("/fhir/metadata").json()["rest"]
    routed = {(one.method, one.path) for one in site.interactions}
    for resource in rest["resource"]:
        said = {interaction["code"] for interaction in resource["interaction"]}
        assert said == {code for route, code in TYPE.items() if route in routed}
        known = {p["name"] for p in resource["searchParam"]}
        assert known == set(accepted(resource["type"]))
    strict = {"Prefer": "handling=strict"}
    for path in ("Observation", "Patient/p1/$everything", "Observation/_history", "Observation/o1/_history"):
        assert site.ask(f"{path}?banana=1", **strict).status_code == 400
        assert site.get(f"{path}?banana=1")["entry"][-1]["search"]["mode"] == "outcome"
    outcome = site.get("Observation?patient=p1&banana=1")["entry"][-1]
    assert outcome["search"]["mode"] == "outcome"
    assert outcome["resource"]["issue"][0]["severity"] == "warning"


def test_metadata_is_a_capability_statement(site: Site) -> None:
    from fhir.resources.R4B.capabilitystatement import CapabilityStatement

    CapabilityStatement.model_validate_json(site.client.get("/fhir/metadata").content)


PIECES = st.sampled_from(
    (
        "patient code date _id identifier encounter _sort _count _include _since _type name _page _lastUpdated "
        "birthdate = & | , : %00 %ff - . ge 2026-01-01 1971 p1 * $ \\ ' {} %s é + 9999-12-31 _total=accurate "
        "0001-01-01T00:00:00+14:00"
    ).split()
)
PATHS = (
    "Observation Patient Organization Patient/p1/$everything Observation/_history _history Observation/o1/_history "
    "Patient/p1/Condition Observation/%00 Patient/p1/_history/1"
).split()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), pieces=st.lists(PIECES, max_size=8))
def test_no_address_makes_the_server_fail(site: Site, path: str, pieces: list[str]) -> None:
    answer = site.ask(f"{path}?{''.join(pieces)}")
    assert answer.status_code < 500, answer.text
    assert answer.json()["resourceType"] in ("Bundle", "OperationOutcome", "Patient")


def test_a_short_fuzz_of_reading_finds_no_500_and_every_error_is_an_operation_outcome(site: Site) -> None:
    assert fuzz(site.app, "Bearer here", 2) == len(site.interactions) - 1
