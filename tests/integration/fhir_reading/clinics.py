"""Two clinics, what they have sent, and what their people ask over HTTP."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from starlette.testclient import TestClient

from epicrisis import assembly
from epicrisis.doors.fhir_http.answers import told
from epicrisis.doors.fhir_http.app import Door, Interaction
from epicrisis.doors.fhir_http.assembled import names_of, reading
from epicrisis.doors.fhir_http.caller import Caller, scopes
from epicrisis.doors.fhir_http.capability import Capability
from epicrisis.doors.fhir_http.limits import Allowance, Room
from epicrisis.doors.fhir_http.openapi import OpenApi
from epicrisis.doors.fhir_http.written import Written
from epicrisis.found import takers
from epicrisis.settings import Settings
from tests.kernel_support import Pipeline, bundle, observation

HERE, THERE = "charite/gyn", "amc/onc"
BASE = "http://testserver/fhir"
VITAL = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}
AMBULATORY = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}

CALLERS = {
    "Bearer here": Caller(client="here", operator="charite", clinic=HERE, scopes=scopes("system/*.cruds")),
    "Bearer there": Caller(client="there", operator="amc", clinic=THERE, scopes=scopes("system/*.cruds")),
    "Bearer numbers": Caller(client="numbers", operator="bay", clinic="bay/main", scopes=scopes("system/*.cruds")),
    "Bearer ward": Caller(client="ward", operator="bay", clinic="bay/ward", scopes=scopes("system/*.cruds")),
    "Bearer stjude": Caller(client="stjude", operator="stjude", clinic="stjude/main", scopes=scopes("system/*.cruds")),
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
        # Ten times as patient as a clinic's server: a busy machine's read models follow more slowly.
        self.written = Written(clock=lambda: time.monotonic() / 10)
        names = names_of(cluster, assembly.journals(cluster, takers()))
        self.interactions: list[Interaction] = reading(cluster, self.written, names)
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
