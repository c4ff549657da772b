"""The OpenAPI description of the door, derived from what is routed and searched by: for tools, and for the fuzzer.

https://spec.openapis.org/oas/v3.1.0. What may be in a resource is FHIR's to say: of bodies the type is described.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from epicrisis import __version__
from epicrisis.doors.fhir_http.answers import FHIR, JSON, Answer
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.histories import ASKED
from epicrisis.doors.fhir_http.past import AS_OF, AT
from epicrisis.doors.fhir_http.query import RESULT, accepted
from epicrisis.fhir.lexical import ID
from epicrisis.fhir.spec import resource_types

_NAMES = re.compile(r"{(\w+)}").findall
_PATH = {
    "type": {"type": "string", "enum": list(resource_types())},
    "id": {"type": "string", "pattern": f"^{ID}$"},
    "version": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
}
_TEXT = {"type": "string"}
_OUTCOME: dict[str, Any] = {
    "type": "object",
    "required": ["resourceType", "issue"],
    "properties": {
        "resourceType": {"const": "OperationOutcome"},
        "issue": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["severity", "code"]}},
    },
}
_RESOURCE = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": {"enum": list(resource_types())}},
}
_OAUTH = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}


class OpenApi:
    """Says how these interactions are called."""

    def __init__(self, others: Sequence[Interaction]) -> None:
        self._routes = [*others, *self.interactions()]

    def interactions(self) -> list[Interaction]:
        """Its own."""
        return [Interaction(method="GET", path="/openapi.json", handler=self.document, open=True)]

    def document(self, call: Call) -> Answer:
        """The description."""
        return Answer(body=msgspec.json.encode(description(self._routes, call.base)), media=JSON)


def description(interactions: Sequence[Interaction], base: str) -> dict[str, Any]:
    """The OpenAPI document of a door that has these interactions."""
    paths: dict[str, dict[str, Any]] = {}
    for one in interactions:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Epicrisis: FHIR R4 over HTTP", "version": __version__},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {
            "schemas": {"Resource": _RESOURCE, "OperationOutcome": _OUTCOME},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(one: Interaction) -> dict[str, Any]:
    named = _NAMES(one.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH[name]} for name in named
    ]
    if one.method == "GET" and named[-1:] == ["type"]:
        parameters += _texts("query", (*_searched(), *RESULT))
    elif one.path.endswith("/_history"):
        parameters += _texts("query", (*ASKED, *(("patient",) if one.path == "/_history" else ())))
    elif "$everything" in one.path:
        parameters += _texts("query", ("_since", "_count", "_type", AT, AS_OF))
    if one.writes:
        parameters += _texts("header", ("If-Match", "If-None-Exist", "Prefer"))
    made: dict[str, Any] = {"parameters": parameters, "responses": _responses(one)}
    if one.body == "fhir":
        made["requestBody"] = {"required": True, "content": {FHIR: {"schema": _ref("Resource")}}}
    elif one.body == "form":
        schema = {"type": "object", "additionalProperties": _TEXT}
        made["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}
    return made if one.open else made | {"security": [{"token": []}]}


def _responses(one: Interaction) -> dict[str, Any]:
    if one.open and one.path != "/metadata":  # not FHIR's: SMART's own documents, and this one
        good: Any = {JSON: {"schema": {"type": "object"}}}
        error: Any = {JSON: {"schema": _OAUTH}} if one.body == "form" else {FHIR: {"schema": _ref("OperationOutcome")}}
    else:
        good, error = {FHIR: {"schema": _ref("Resource")}}, {FHIR: {"schema": _ref("OperationOutcome")}}
    return {
        "2XX": {"description": "done", "content": good},
        "204": {"description": "done, and nothing to say"},
        "304": {"description": "nothing has changed"},
        "default": {"description": "refused: why, and what to do", "content": error},
    }


def _texts(where: str, names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": name, "in": where, "schema": _TEXT} for name in names]


def _searched() -> list[str]:
    return sorted({name for kind in resource_types() for name in accepted(kind)})


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
