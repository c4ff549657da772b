"""Reading over HTTP, on real servers: whole charts and histories, what was, and where it comes from."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from epicrisis.assembly import history_of
from epicrisis.fhir.gate import Gate
from epicrisis.replay import When
from epicrisis.versions import rows_of
from tests.integration.fhir_reading.clinics import BASE, HERE, Site, name

pytestmark = pytest.mark.servers


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
    both = site.found("Patient/p1/$everything?_type=Condition&_type=Encounter")
    assert both == site.found("Patient/p1/$everything?_type=Condition,Encounter")
    assert {"Condition", "Encounter"} <= set(both)


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
