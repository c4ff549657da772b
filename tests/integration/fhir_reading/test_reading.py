"""Reading over HTTP, on real servers: a resource, a search, and who sees what."""

from __future__ import annotations

import json

import pytest
from msgspec.json import format as indented

from tests.integration.fhir_reading.clinics import BASE, Site, name

pytestmark = pytest.mark.servers


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
    for tags in ('W/"2"', '"2"', 'W/"1", W/"2"'):
        answer = site.ask("Observation/o2", **{"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b"")
    assert site.ask("Observation/o2", **{"If-None-Match": 'W/"1"'}).status_code == 200


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
