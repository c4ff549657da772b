"""Searching by identifiers that several resources may share: visit, order and accession numbers."""

from __future__ import annotations

from typing import Any

import pytest

from epicrisis.assembly import quarantine
from epicrisis.doors.hl7v2.door import Door, Maps
from epicrisis.doors.hl7v2.senders import Senders
from tests.hl7v2 import STJUDE, message
from tests.integration.fhir_reading.clinics import BASE, Site, encounter, sent
from tests.kernel_support import condition, observation, patient

pytestmark = pytest.mark.servers
OWN, OTHER = "bay/main", "stjude/main"
GENERAL, ONCOLOGY = "394802001", "394592004"


def numbered(resource: dict[str, Any], *numbers: str, **more: Any) -> dict[str, Any]:
    """With these identifiers, ``system|value``."""
    parts = [number.partition("|") for number in numbers]
    given = [{"system": system, "value": value} for system, _, value in parts]
    return resource | {"identifier": given} | more


def visit(own_id: str, *numbers: str) -> dict[str, Any]:
    return numbered(encounter(own_id, to="Patient/n1"), *numbers)


def report(own_id: str, *numbers: str) -> dict[str, Any]:
    found = {"resourceType": "DiagnosticReport", "id": own_id, "status": "final", "code": {"text": own_id}}
    return numbered(found | {"subject": {"reference": "Patient/n1"}}, *numbers)


def episode(number: str, specialty: str) -> dict[str, Any]:
    kind = {"text": number, "coding": [{"system": "http://snomed.info/sct", "code": specialty}]}
    found = {"resourceType": "EpisodeOfCare", "id": "n-ep", "status": "active", "type": [kind]}
    return numbered(found | {"patient": {"reference": "Patient/n1"}}, f"urn:cases|{number}", "urn:cases|same")


def order(own_id: str, number: str, **more: Any) -> dict[str, Any]:
    found = {"resourceType": "ServiceRequest", "id": own_id, "status": "active", "intent": "order"}
    return numbered(found | {"code": {"text": own_id}, "subject": {"reference": "Patient/n1"}}, number, **more)


@pytest.fixture(scope="module")
def numbers(site: Site) -> Site:
    """A patient whose resources have numbers."""

    def send(*resources: dict[str, Any], clinic: str = OWN, **more: Any) -> None:
        site.running.send(sent(*resources, **more), clinic=clinic)

    clinic = {"identifier": {"system": "urn:epicrisis:clinic", "value": "bay/onco"}}
    send(
        patient("n1", family="Numbered"),
        patient("n2"),
        visit("n-e1", "urn:visits|1", "urn:cases|A"),
        visit("n-e2", "urn:cases|A"),
    )
    send(visit("n-e1", "urn:visits|2", "urn:cases|A"))  # its number was a mistake
    send(*[report(f"n-d{n}", "urn:accession|7") for n in range(5)])
    send(report("n-twice", "urn:accession|8"), report("n-twice", "urn:accession|9"))
    send(numbered(report("n-temp"), "urn:accession|t", "urn:accession|k"), delete=("DiagnosticReport/n-d4",))
    temporary = report("n-temp") | {"identifier": [{"system": "urn:accession", "value": "t", "use": "temp"}]}
    send(temporary)
    send(order("n-chart", "urn:orders|1"), order("n-referral", "urn:orders|1", performer=[clinic]))
    send(numbered(condition("n-c", to="Patient/n1"), "urn:problems|1"))
    send(numbered(observation("n-o", to="Patient/n1"), "urn:lab,room|a|b"))
    for number, specialty in (("c1", GENERAL), ("c2", ONCOLOGY), ("c3", GENERAL)):
        send(episode(number, specialty))
    send(patient("n1", family="Other"), visit("n-e1", "urn:visits|2"), clinic=OTHER)
    site.running.wait()
    return site


def ids(site: Site, path: str, who: str = "numbers") -> list[str]:
    """What a search finds."""
    return [entry["resource"]["id"] for entry in site.get(path, who).get("entry", [])]


def of(site: Site, *own: str, who: str = "numbers") -> list[str]:
    """The cluster's ids of resources ``Type/own``."""
    return sorted(site.get(one, who)["id"] for one in own)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Encounter?identifier=urn:visits|2", ["Encounter/n-e1"]),
        ("Encounter?identifier=urn:visits|1", []),  # its newest version has it no longer
        ("Encounter?identifier=urn:visits|3", []),
        ("Encounter?identifier=urn:cases|A", ["Encounter/n-e1", "Encounter/n-e2"]),
        ("Encounter?identifier=urn:visits|1,urn:cases|A", ["Encounter/n-e1", "Encounter/n-e2"]),
        ("Encounter?identifier=urn:visits|2&identifier=urn:cases|A", ["Encounter/n-e1"]),
        ("Encounter?identifier=urn:visits|2&identifier=urn:visits|3", []),
        ("Encounter?identifier=urn:cases|A&_id=n-e2", ["Encounter/n-e2"]),
        ("Encounter?identifier=urn:cases|A&patient=n1&date=2026-01-10", ["Encounter/n-e1", "Encounter/n-e2"]),
        ("Encounter?identifier=urn:cases|A&status=planned", []),
        ("Encounter?identifier=urn:cases|A&patient=n2", []),
        ("Patient/n1/Encounter?identifier=urn:visits|2", ["Encounter/n-e1"]),
        ("Patient/n2/Encounter?identifier=urn:visits|2", []),
        ("Observation?identifier=urn:visits|2", []),  # an Encounter's
        (r"Observation?identifier=urn:lab\,room|a\|b", ["Observation/n-o"]),
        ("DiagnosticReport?identifier=urn:accession|7", [f"DiagnosticReport/n-d{n}" for n in range(4)]),  # one deleted
        ("DiagnosticReport?identifier=urn:accession|8", []),
        ("DiagnosticReport?identifier=urn:accession|9", ["DiagnosticReport/n-twice"]),
        ("DiagnosticReport?identifier=urn:accession|t", []),  # temporary by now
        ("ServiceRequest?identifier=urn:orders|1", ["ServiceRequest/n-chart", "ServiceRequest/n-referral"]),
        ("Condition?identifier=urn:problems|1", ["Condition/n-c"]),
        ("EpisodeOfCare?identifier=urn:cases|c1", []),  # since it has changed hands, and back
        ("EpisodeOfCare?identifier=urn:cases|c2", []),
        ("EpisodeOfCare?identifier=urn:cases|c3", ["EpisodeOfCare/n-ep"]),
        ("EpisodeOfCare?identifier=urn:cases|same", ["EpisodeOfCare/n-ep"]),
    ],
)
def test_a_search_by_identifier_finds_whose_newest_version_has_it(numbers: Site, query: str, found: list[str]) -> None:
    assert sorted(ids(numbers, query)) == of(numbers, *found)


def test_only_what_the_clinic_sees_is_found_and_only_what_its_own_operator_sent(numbers: Site) -> None:
    assert ids(numbers, "Encounter?identifier=urn:visits|2", "stjude") == of(numbers, "Encounter/n-e1", who="stjude")
    assert ids(numbers, "Encounter?identifier=urn:cases|A", "stjude") == []
    assert ids(numbers, "Encounter?identifier=urn:visits|2", "ward") == []


def test_what_shares_an_identifier_is_counted_and_comes_in_pages(numbers: Site) -> None:
    query = "DiagnosticReport?identifier=urn:accession|7"
    assert numbers.get(f"{query}&_summary=count", "numbers")["total"] == 4
    seen: list[str] = []
    page = numbers.get(f"{query}&_count=3&_total=accurate", "numbers")
    assert page["total"] == 4
    while True:
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        links = {link["relation"]: link["url"] for link in page["link"]}
        if "next" not in links:
            break
        assert "accession" not in links["next"]
        page = numbers.get(links["next"].removeprefix(f"{BASE}/"), "numbers")
    assert seen == of(numbers, *[f"DiagnosticReport/n-d{n}" for n in range(4)])


def test_an_identifier_without_its_system_is_refused(numbers: Site) -> None:
    assert numbers.ask("Encounter?identifier=2", "numbers").status_code == 400
    assert numbers.ask("Encounter?identifier=urn:visits|", "numbers").status_code == 400
    assert numbers.ask("Encounter?identifier:exact=urn:visits|2", "numbers").status_code == 400


def test_a_visit_that_came_over_mllp_is_found_by_its_number(numbers: Site) -> None:
    operators = {"stjude": STJUDE}
    door = Door(Senders(operators), Maps(operators), numbers.running.intake, quarantine(numbers.settings))
    for raw in (message(), message("ADT^A03", control="2")):
        assert b"MSA|AA" in door.answer(raw)
    numbers.running.wait()
    visits = [entry["resource"] for entry in numbers.get("Encounter", "stjude")["entry"]]
    (found,) = [(one["id"], n["system"]) for one in visits for n in one["identifier"] if n["value"] == "V1"]
    assert ids(numbers, f"Encounter?identifier={found[1]}|V1", "stjude") == [found[0]]
    assert ids(numbers, f"Encounter?identifier={found[1]}|V1") == []
