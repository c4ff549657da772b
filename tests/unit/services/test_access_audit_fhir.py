"""AuditEvents have the shapes of IHE BALP, and pass the gate like anybody's resource."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from epicrisis.access.api import Access, Action, Caller, Glass
from epicrisis.event import replace
from epicrisis.fhir.gate import Gate
from services.access_audit import service
from services.access_audit.fhir import EXPORT, audit_event, records
from tests import balp

NOW = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
PATIENT, ID, GLASS = UUID(int=7), UUID(int=1), UUID(int=9)
HIS = Caller(operator="charite", clinic="charite/gyn", client="his", address="2001:db8::7")
ADA = replace(HIS, user="ada", purpose="BTG", reason='she said "help"', address="ward-7")
ACCESS = Access(
    id=ID,
    when=NOW,
    who=HIS,
    door="https://here/fhir",
    interaction="read",
    action="R",
    status=200,
    asked="GET /fhir/Patient?name=Müller",
    patient=PATIENT,
    what=f"Patient/{PATIENT}",
    resource_type="Patient",
    delivered={"registration": {1}, "chart": {1, 2, 3, 9}},
    request_id="f" * 32,
)
KINDS: list[tuple[str, Action]] = [
    ("read", "R"),
    ("vread", "R"),
    ("history-instance", "R"),
    ("history-type", "E"),
    ("search-type", "E"),
    ("$everything", "E"),
    ("create", "C"),
    ("update", "U"),
    ("delete", "D"),
    ("transaction", "C"),
    ("transaction", "U"),
    ("transaction", "D"),
    ("batch", "E"),
    ("replay", "E"),
    (EXPORT, "R"),
]


def said(raw: bytes) -> dict[str, Any]:
    """What passed the gate."""
    checked = Gate().check(raw)
    assert checked.resource_type == "AuditEvent"
    found: dict[str, Any] = json.loads(raw)
    return found


@pytest.mark.parametrize("who", [HIS, ADA], ids=["a client", "a user"])
@pytest.mark.parametrize(("interaction", "action"), KINDS)
def test_every_kind_of_access_has_the_shape_of_its_profile(interaction: str, action: Action, who: Caller) -> None:
    access = replace(ACCESS, interaction=interaction, action=action, who=who, break_glass=GLASS)
    assert balp.problems(said(audit_event(access))) == []


@pytest.mark.parametrize(("interaction", "action"), [kind for kind in KINDS if kind[0] != EXPORT])
def test_what_concerns_no_patient_has_a_profile_too(interaction: str, action: Action) -> None:
    access = replace(ACCESS, interaction=interaction, action=action, patient=None, delivered={})
    event = said(audit_event(access))
    assert balp.problems(event) == []
    assert "Patient/" not in json.dumps(event["entity"][1:])


@pytest.mark.parametrize(("interaction", "action"), KINDS)
def test_what_was_refused_claims_no_success(interaction: str, action: Action) -> None:
    refused = replace(ACCESS, interaction=interaction, action=action, outcome="4", status=403)
    event = said(audit_event(refused))
    assert (event["outcome"], event["outcomeDesc"], "meta" in event) == ("4", "status 403", False)
    assert [b["what"]["reference"] for b in event["entity"] if b["type"]["code"] == "1"] == [f"Patient/{PATIENT}"]


def test_what_was_asked_for_stands_in_the_query_and_who_asked_among_the_agents() -> None:
    event = said(audit_event(replace(ACCESS, interaction="search-type", action="E", who=ADA, break_glass=GLASS)))
    assert b64decode(event["entity"][0]["query"]).decode() == "GET /fhir/Patient?name=Müller"
    agents = {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}
    assert agents["IRCP"]["who"]["identifier"]["value"] == "ada"
    assert agents["PROV"]["who"]["identifier"]["value"] == "charite/gyn"
    assert agents["IRCP"]["purposeOfUse"][0]["coding"][0]["code"] == "BTG"
    assert event["purposeOfEvent"][0]["text"] == 'she said "help"'
    assert f"urn:uuid:{GLASS}" in json.dumps(event["entity"])


def test_the_facts_say_which_events_left() -> None:
    body = records(ACCESS).command.access
    assert [(one.source, one.seqs) for one in body.delivered] == [("chart", "1-3,9"), ("registration", "1")]
    assert body.patient


@pytest.mark.parametrize("does", ["start", "end", "review"])
def test_a_break_glass_is_a_decision_about_authorization(does: Any) -> None:
    glass = Glass(
        id=GLASS,
        event=ID,
        does=does,
        when=NOW,
        who=ADA,
        patient=PATIENT,
        door="https://here/fhir",
        until=NOW + timedelta(hours=1),
        note="it was right",
    )
    assert service.breaks is not None
    command = service.breaks(glass).command
    body = getattr(command, "review" if does == "review" else does)
    event = said(body.resource)
    assert balp.problems(event) == []
    assert event["outcomeDesc"] == ("it was right" if does == "review" else 'she said "help"')


def test_the_table_of_shapes_accepts_ihes_own_examples(shared_data: Path) -> None:
    found = [json.loads(path.read_bytes()) for path in sorted((shared_data / "ihe-balp").glob("AuditEvent-*.json"))]
    ours = [one for one in found if one["meta"]["profile"][0].removeprefix(balp.BASE) in balp.SHAPES]
    assert len(ours) >= 19
    assert {one["meta"]["profile"][0].removeprefix(balp.BASE) for one in ours} >= {
        "PatientRead", "Query", "PatientQuery", "PatientCreate", "PatientUpdate", "PatientDelete", "Delete",
        "AuthZconsent", "PrivacyDisclosure.Source",
    }  # fmt: skip
    assert [problem for one in ours for problem in balp.problems(one)] == []


@pytest.mark.parametrize(
    "break_it",
    [
        lambda e: e["agent"].pop(0),
        lambda e: e["entity"].pop(0),
        lambda e: e["entity"].pop(1),
        lambda e: e.update(action="E"),
        lambda e: e.update(outcome="4"),
        lambda e: e["agent"][0].pop("network"),
        lambda e: e["meta"].update(profile=[]),
        lambda e: e["type"].update(code="110106"),
    ],
)
def test_the_table_of_shapes_refuses_what_is_none(break_it: Any) -> None:
    event = said(audit_event(ACCESS))
    break_it(event)
    assert balp.problems(event)
