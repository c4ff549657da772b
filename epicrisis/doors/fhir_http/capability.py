"""The CapabilityStatement: what works here, derived from what is really routed and searched by.

https://hl7.org/fhir/R4/capabilitystatement.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from epicrisis import __version__
from epicrisis.doors.fhir_http.answers import FHIR, JSON, Answer
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.origins import OF_TARGETS
from epicrisis.doors.fhir_http.query import accepted, includable
from epicrisis.fhir.spec import resource_types

RELEASED = "2026-11-23"
"""When this statement changed last."""

TYPE: Mapping[tuple[str, str], str] = {
    ("GET", "/{type}/{id}"): "read",
    ("GET", "/{type}/{id}/_history/{version}"): "vread",
    ("GET", "/{type}/{id}/_history"): "history-instance",
    ("GET", "/{type}/_history"): "history-type",
    ("GET", "/{type}"): "search-type",
    ("POST", "/{type}"): "create",
    ("PUT", "/{type}/{id}"): "update",
    ("DELETE", "/{type}/{id}"): "delete",
}
"""What can be done with a resource type, by the route that does it."""
SYSTEM: Mapping[tuple[str, str], Sequence[str]] = {
    ("POST", "/"): ("transaction", "batch"),
    ("GET", "/_history"): ("history-system",),
}
"""What can be done with the whole."""
OPERATIONS: Mapping[str, tuple[str, str]] = {
    "$everything": ("everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything"),
    "$validate": ("validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate"),
    "$process-message": ("process-message", "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message"),
}
_SMART = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_TRANSACTION = "Of POST, PUT and DELETE: to read, send a batch."
_LEFT_OUT = "What was deleted or entered in error is left out: histories show it."
_HISTORY = "With _since, _count, _at (what was current then), _revinclude=Provenance:target (where versions come from)."
_PATIENT_HISTORY = f"Of one patient at a time: /_history?patient=<id>. {_HISTORY}"
_SAID = {"transaction": _TRANSACTION, "history-system": _PATIENT_HISTORY}
_EVERYTHING = "With _since, _type, _count; as it was: _at (recorded by then) and _asOf (true by then)."


class Capability:
    """Says what these interactions are."""

    def __init__(self, others: Sequence[Interaction]) -> None:
        self._routes = [*others, *self.interactions()]
        self._statements: dict[str, bytes] = {}

    def interactions(self) -> list[Interaction]:
        return [Interaction(method="GET", path="/metadata", handler=self.metadata, open=True)]

    def metadata(self, call: Call) -> Answer:
        """The CapabilityStatement."""
        if call.base not in self._statements:
            self._statements[call.base] = msgspec.json.encode(statement(self._routes, call.base))
        return Answer(body=self._statements[call.base])


def statement(interactions: Sequence[Interaction], base: str) -> dict[str, Any]:
    """The CapabilityStatement of a door that has these interactions."""
    routes = {(one.method, one.path) for one in interactions}
    system = [code for route, codes in SYSTEM.items() if route in routes for code in codes]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": RELEASED,
        "kind": "instance",
        "software": {"name": "Epicrisis", "version": __version__},
        "implementation": {"description": "Epicrisis: FHIR over HTTP", "url": base},
        "fhirVersion": "4.0.1",
        "format": [FHIR, JSON, "json"],
        "rest": [
            {
                "mode": "server",
                "security": _security(base),
                "resource": [_resource(kind, routes) for kind in resource_types()],
                "interaction": [
                    {"code": code, **({"documentation": _SAID[code]} if code in _SAID else {})} for code in system
                ],
                "operation": _operations(routes, prefix="/$"),
            }
        ],
    }


def _security(base: str) -> dict[str, Any]:
    return {
        "service": [{"coding": [{"system": _SMART, "code": "SMART-on-FHIR"}]}],
        "description": f"SMART Backend Services: {base}/.well-known/smart-configuration",
    }


def _resource(kind: str, routes: set[tuple[str, str]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": kind,
        "interaction": [
            {"code": code, **({"documentation": _HISTORY} if code.startswith("history") else {})}
            for route, code in TYPE.items()
            if route in routes
        ],
        "versioning": "versioned-update",
        "readHistory": ("GET", "/{type}/{id}/_history/{version}") in routes,
        "updateCreate": ("PUT", "/{type}/{id}") in routes,
        "conditionalCreate": ("POST", "/{type}") in routes,
        "conditionalUpdate": ("PUT", "/{type}") in routes,
        "conditionalDelete": "not-supported",
    }
    if ("GET", "/{type}") in routes:
        made["documentation"] = _LEFT_OUT
        made["searchParam"] = [{"name": name, "type": of} for name, of in accepted(kind).items()]
        if includes := includable(kind):
            made["searchInclude"] = [f"{kind}:{name}" for name in includes]
        made["searchRevInclude"] = [OF_TARGETS]
    if found := [*_operations(routes, prefix=f"/{kind}/"), *_operations(routes, prefix="/{type}/")]:
        made["operation"] = found
    return {name: value for name, value in made.items() if value != []}


def _operations(routes: set[tuple[str, str]], *, prefix: str) -> list[dict[str, str]]:
    found = {path.rpartition("/")[2] for _, path in routes if path.startswith(prefix) and "$" in path}
    return [
        {
            "name": OPERATIONS[name][0],
            "definition": OPERATIONS[name][1],
            **({"documentation": _EVERYTHING} if name == "$everything" else {}),
        }
        for name in sorted(found)
    ]
