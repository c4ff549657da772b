"""The shapes of IHE BALP 1.1, as far as our AuditEvents use them; IHE's own examples are held against the same table.

https://profiles.ihe.net/ITI/BALP/artifacts.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

BASE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
REST, EXPORT, ALERT = "rest", "110106", "110113"
SOURCE, DESTINATION, APPLICATION, CUSTODIAN = "110153", "110152", "110150", "custodian"
USERS = {"IRCP", "AUT", "INF", "CST"}


class Shape(NamedTuple):
    """``subtypes``: one of these is there. ``agents``: exactly one of each. ``data``: the role of the one object."""

    type: str
    action: str
    subtypes: frozenset[str]
    agents: tuple[str, ...]
    users: frozenset[str]
    roles: frozenset[str]


_READ = Shape(
    REST, "R", frozenset(), (DESTINATION, SOURCE), frozenset({"IRCP", "UserOauthAgent"}), frozenset({"3", "4", "20"})
)
_AUTHORS = frozenset({"AUT", "INF", "CST"})
_SENT = (SOURCE, DESTINATION)
_WRITTEN = frozenset({"3", "4", "20"})
_CREATE = Shape(REST, "C", frozenset({"create"}), _SENT, _AUTHORS, _WRITTEN)
_UPDATE = Shape(REST, "U", frozenset({"update", "patch"}), _SENT, _AUTHORS, _WRITTEN)
_DELETE = Shape(REST, "D", frozenset({"delete"}), (APPLICATION, CUSTODIAN), _AUTHORS, _WRITTEN)
_QUERY = Shape(REST, "E", frozenset(), _SENT, frozenset({"IRCP"}), frozenset({"24"}))
SHAPES = {
    "Read": _READ,
    "PatientRead": _READ,
    "Create": _CREATE,
    "PatientCreate": _CREATE,
    "Update": _UPDATE,
    "PatientUpdate": _UPDATE,
    "Delete": _DELETE,
    "PatientDelete": _DELETE,
    "Query": _QUERY,
    "PatientQuery": _QUERY,
    "PrivacyDisclosure.Source": Shape(EXPORT, "R", frozenset({"disclose"}), _SENT, frozenset(), frozenset()),
    "AuthZconsent": Shape(
        ALERT, "E", frozenset({"AuthZ-Consent"}), (APPLICATION, "PROV", "authserver"), frozenset({"IRCP"}), frozenset()
    ),
}


def problems(event: dict[str, Any]) -> list[str]:
    """What is not as the profile wants it that the event claims; a claim of none is a problem, too."""
    claimed = [p.removeprefix(BASE) for p in event.get("meta", {}).get("profile", [])]
    if len(claimed) != 1 or claimed[0] not in SHAPES:
        return [f"it claims {claimed}"]
    return list(_problems(event, claimed[0], SHAPES[claimed[0]]))


def _problems(event: dict[str, Any], name: str, shape: Shape) -> Iterator[str]:
    if event["type"]["code"] != shape.type:
        yield "type"
    if event["action"] != shape.action:
        yield "action"
    subtypes = {one["code"] for one in event.get("subtype", [])}
    if not subtypes or (shape.subtypes and not subtypes & shape.subtypes):
        yield f"subtype {subtypes}"
    if event.get("outcome") != "0":
        yield "outcome"
    if "recorded" not in event or "observer" not in event.get("source", {}):
        yield "recorded or source"
    yield from _agents(event, name, shape)
    yield from _entities(event, name, shape)


def _agents(event: dict[str, Any], name: str, shape: Shape) -> Iterator[str]:
    by_type: dict[str, list[dict[str, Any]]] = {}
    for agent in event["agent"]:
        by_type.setdefault(agent["type"]["coding"][0]["code"], []).append(agent)
    for code in shape.agents:
        found = by_type.get(code, [])
        if len(found) != 1 or "who" not in found[0]:
            yield f"agent {code}: {len(found)}"
        elif code in (SOURCE, DESTINATION, APPLICATION) and not found[0].get("network", {}).get("address"):
            yield f"agent {code} has no network"
    for code in USERS & set(by_type):
        if code not in shape.users and shape.users:
            yield f"a user is {code}"
        if any(not user["requestor"] or "network" in user or "who" not in user for user in by_type[code]):
            yield f"user {code}"
    own = {"AuthZconsent": "authserver", "PrivacyDisclosure.Source": SOURCE}.get(name)
    if own and event["source"]["observer"] != by_type[own][0]["who"]:
        yield "val-audit-source"


def _entities(event: dict[str, Any], name: str, shape: Shape) -> Iterator[str]:
    of = {code: [e for e in event["entity"] if e["type"]["code"] == code] for code in ("1", "2", "Consent")}
    patients = [e for e in of["1"] if e["role"]["code"] == "1" and e["what"]["reference"].startswith("Patient/")]
    wanted = name.startswith(("Patient", "Privacy", "AuthZ"))
    if len(patients) != int(wanted) or len(patients) != len(of["1"]):
        yield f"{len(patients)} patients"
    if shape.roles:
        if len(of["2"]) != 1 or of["2"][0]["role"]["code"] not in shape.roles:
            yield f"objects {[e.get('role') for e in of['2']]}"
        elif ("query" in of["2"][0]) != (shape is _QUERY) or ("what" in of["2"][0]) == (shape is _QUERY):
            yield "what or query"
    elif name == "AuthZconsent" and (not of["Consent"] or len(event["entity"]) > len(of["1"]) + len(of["Consent"])):
        yield "consent"
    for one in event["entity"]:
        if one["type"]["code"] == "XrequestId" and not one["what"]["identifier"]["value"]:
            yield "request id"
