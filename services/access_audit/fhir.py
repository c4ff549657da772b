"""Writes the AuditEvent of an access, in the shapes of IHE BALP 1.1, and the command that records it.

https://profiles.ihe.net/ITI/BALP/. A profile is claimed where the access is of its kind and succeeded: what was refused
has the same shape, and says so in its outcome. Bytes are put together from parts that are remembered: this is done
before any answer leaves.
"""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import msgspec

from epicrisis.access.api import SUCCESS, Access, Caller, Glass, ranges
from epicrisis.decider import To
from epicrisis.event import replace
from epicrisis.fhir.values import instant_text
from schemas.access_audit import AccessRecorded, BreakGlassEnded, BreakGlassReviewed, BreakGlassStarted, Delivered
from services.access_audit.decider import EndBreakGlass, RecordAccess, ReviewBreakGlass, StartBreakGlass

BALP = "https://profiles.ihe.net/ITI/BALP"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
RESTFUL = "http://hl7.org/fhir/restful-interaction"
OWN = "urn:epicrisis:interaction"
"""Of interactions that FHIR has no code for: the commands."""
_V3 = "http://terminology.hl7.org/CodeSystem/v3-"
_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_CODES = frozenset(
    "read vread update patch delete create search search-type search-system history-instance history-type "
    "history-system transaction batch operation".split()
)
_SOURCE = {"system": DCM, "code": "110153", "display": "Source Role ID"}
_DESTINATION = {"system": DCM, "code": "110152", "display": "Destination Role ID"}
_APPLICATION = {"system": DCM, "code": "110150", "display": "Application"}
_CUSTODIAN = {
    "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
    "code": "custodian",
    "display": "Custodian",
}
_ROLES = {"R": (_DESTINATION, _SOURCE), "D": (_APPLICATION, _CUSTODIAN)}
"""Of client and server, by action; all others are a source (of a query, of what is written) and its destination."""
_REST = {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"}
_EXPORT = {"system": DCM, "code": "110106", "display": "Export"}
_ALERT = {"system": DCM, "code": "110113", "display": "Security Alert"}
_KINDS = {"C": "Create", "R": "Read", "U": "Update", "D": "Delete", "E": "Query"}
_AUTHOR = {"system": f"{_V3}ParticipationType", "code": "AUT", "display": "author (originator)"}
_RECIPIENT = {"system": f"{_V3}ParticipationType", "code": "IRCP", "display": "information recipient"}
EXPORT = "audit-export"
"""The interaction that hands a whole record out."""

_json = msgspec.json.Encoder().encode


def records(access: Access) -> To:
    """What records an access."""
    who = access.who
    command = RecordAccess(
        access=AccessRecorded(
            interaction=access.interaction,
            action=access.action,
            outcome=access.outcome,
            status=access.status,
            client=who.client,
            user=who.user,
            purpose=who.purpose,
            reason=who.reason,
            break_glass_id=str(access.break_glass) if access.break_glass else "",
            request_id=access.request_id,
            resource_type=access.resource_type,
            patient=access.patient is not None,
            delivered=tuple(Delivered(source=s, seqs=ranges(some)) for s, some in sorted(access.delivered.items())),
            resource=audit_event(access),
        )
    )
    return To(stream=f"AuditEvent/{access.id}", command=command)


def broken(glass: Glass) -> To:
    """What starts, ends or reviews a break-glass."""
    who, now, id_ = glass.who, glass.when, str(glass.id)
    raw = _alert(glass)
    end = BreakGlassEnded(break_glass_id=id_, by=who.user or who.client, over=False, resource=raw)
    command: Any
    match glass.does:
        case "start":
            assert glass.until is not None, "a glass is broken for a time"
            start = BreakGlassStarted(
                break_glass_id=id_,
                client=who.client,
                user=who.user,
                purpose=who.purpose,
                reason=who.reason,
                until=glass.until,
                resource=raw,
            )
            command = StartBreakGlass(start=start, now=now)
        case "end":
            command = EndBreakGlass(end=end, now=now)
        case "review":
            review = BreakGlassReviewed(
                break_glass_id=id_, by=end.by, justified=glass.justified, note=glass.note, resource=raw
            )
            command = ReviewBreakGlass(review=review, end=replace(end, by=""), now=now)
    return To(stream=f"BreakGlass/{id_}", command=command)


def audit_event(access: Access) -> bytes:
    """The AuditEvent."""
    export = access.interaction == EXPORT
    entities = [] if export else [_what(access)]
    if access.patient is not None:
        entities.append(_patient(access.patient))
    if export:
        entities.append(_data(f"Patient/{access.patient}", b'{"system":"%s","code":"3","display":"Report"}'))
    if access.request_id:
        entities.append(_request(access.request_id))
    if access.break_glass is not None:
        entities.append(_glass(access.break_glass))
    outcome = b"" if access.outcome == SUCCESS else b'"outcomeDesc":"status %d",' % access.status
    return b"".join(
        (
            b'{"resourceType":"AuditEvent","id":"',
            str(access.id).encode(),
            b'",',
            _head(access.action, access.interaction, access.patient is not None, access.outcome == SUCCESS),
            b'"recorded":"',
            instant_text(access.when).encode(),
            b'","outcome":"',
            access.outcome.encode(),
            b'",',
            outcome,
            _agents(access.who, access.door, access.action),
            b',"entity":[',
            b",".join(entities),
            b"]}",
        )
    )


@lru_cache(maxsize=512)
def _head(action: str, interaction: str, patient: bool, success: bool) -> bytes:
    """Profile, type, subtype and action."""
    kind = "PrivacyDisclosure.Source" if interaction == EXPORT else ("Patient" if patient else "") + _KINDS[action]
    said: dict[str, Any] = {}
    if success:
        said["meta"] = {"profile": [f"{BALP}/StructureDefinition/IHE.BasicAudit.{kind}"]}
    said["type"] = _EXPORT if interaction == EXPORT else _REST
    said["subtype"] = _subtypes(action, interaction)
    said["action"] = action
    return _json(said)[1:-1] + b","


def _subtypes(action: str, interaction: str) -> list[dict[str, str]]:
    if interaction == EXPORT:
        disclosed = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
        return [{"system": disclosed, "code": "disclose", "display": "Disclose Record Lifecycle Event"}]
    if action == "D":
        return [{"system": RESTFUL, "code": "delete", "display": "delete"}]
    code = "operation" if interaction.startswith("$") else interaction
    found = [{"system": RESTFUL if code in _CODES else OWN, "code": code, "display": interaction}]
    shape = {"C": "create", "U": "update", "E": "search"}.get(action)
    if shape is not None and not code.startswith(shape):
        found.insert(0, {"system": RESTFUL, "code": shape, "display": shape})
    return found


@lru_cache(maxsize=2048)  # a client asks more than once
def _agents(who: Caller, door: str, action: str) -> bytes:
    """Why, who, and where it was recorded."""
    why: dict[str, Any] = {"coding": [_purpose(who.purpose)]} if who.purpose else {}
    if who.reason:
        why["text"] = who.reason
    purpose = [why] if why else []
    client, server = _ROLES.get(action, (_SOURCE, _DESTINATION))
    agents = [
        _client(client, who, requestor=not who.user),
        {
            **_role(server),
            "who": {"display": door},
            "requestor": False,
            "network": {"address": door, "type": "5" if "://" in door else "1"},
        },
        _clinic(who),
    ]
    if who.user:
        agents.append(_user(_AUTHOR if action in "CUD" else _RECIPIENT, who.user, purpose))
    said: dict[str, Any] = {
        **({"purposeOfEvent": purpose} if purpose else {}),
        "agent": agents,
        "source": {"observer": {"display": door}, "type": [_source_type("4", "Application Server")]},
    }
    return _json(said)[1:-1]


def _client(role: dict[str, str], who: Caller, *, requestor: bool) -> dict[str, Any]:
    return {
        **_role(role),
        "who": {"identifier": {"value": who.client}},
        "requestor": requestor,
        "network": {"address": who.address or "unknown", "type": "2" if _is_address(who.address) else "1"},
    }


def _user(role: dict[str, str], user: str, purpose: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        **_role(role),
        "who": {"identifier": {"value": user}},
        "requestor": True,
        **({"purposeOfUse": purpose} if purpose else {}),
    }


def _clinic(who: Caller) -> dict[str, Any]:
    return {
        **_role({"system": f"{_V3}RoleClass", "code": "PROV", "display": "healthcare provider"}),
        "who": {"identifier": {"value": who.clinic}},
        "requestor": False,
    }


def _role(coding: dict[str, str]) -> dict[str, Any]:
    return {"type": {"coding": [coding]}}


def _purpose(code: str) -> dict[str, str]:
    return {"system": f"{_V3}ActReason", "code": code}


def _source_type(code: str, display: str) -> dict[str, str]:
    return {"system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": code, "display": display}


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _what(access: Access) -> bytes:
    """The resource that was concerned; of a query, what was asked."""
    if access.action == "E":
        return _QUERY % b64encode(access.asked.encode() or access.interaction.encode())
    return _data(access.what or access.resource_type or access.interaction, asked=access.asked)


def _data(
    reference: str, role: bytes = b'{"system":"%s","code":"4","display":"Domain Resource"}', asked: str = ""
) -> bytes:
    what = b'{"reference":%s}' if "/" in reference or ":" in reference else b'{"display":%s}'
    said = b',"description":%s' % _json(asked) if asked else b""
    return _DATA % (role % _ROLE.encode(), what % _json(reference), said)


def _patient(patient: UUID) -> bytes:
    return _PATIENT % str(patient).encode()


def _request(request_id: str) -> bytes:
    return _REQUEST % _json(request_id)


def _glass(id_: UUID) -> bytes:
    return _GLASS % str(id_).encode()


_OBJECT = b'"type":{"system":"%s","code":"2","display":"System Object"}' % _TYPE.encode()
_DATA = b"{" + _OBJECT + b',"role":%s,"what":%s%s}'
_QUERY = b"{" + _OBJECT + b',"role":{"system":"' + _ROLE.encode() + b'","code":"24","display":"Query"},"query":"%s"}'
_PATIENT = (
    b'{"type":{"system":"' + _TYPE.encode() + b'","code":"1","display":"Person"},'
    b'"role":{"system":"' + _ROLE.encode() + b'","code":"1","display":"Patient"},'
    b'"what":{"reference":"Patient/%s"}}'
)
_REQUEST = (
    b'{"type":{"system":"' + BALP.encode() + b'/CodeSystem/BasicAuditEntityType","code":"XrequestId"},'
    b'"what":{"identifier":{"value":%s}}}'
)
_GLASS = (
    b'{"type":{"system":"' + _TYPE.encode() + b'","code":"4","display":"Other"},"description":"break-glass",'
    b'"what":{"identifier":{"system":"urn:ietf:rfc:3986","value":"urn:uuid:%s"}}}'
)


def _alert(glass: Glass) -> bytes:
    """An authorization decision; the break-glass stands where a consent would."""
    who = glass.who
    purpose = [{"coding": [_purpose(who.purpose)]}] if who.purpose else []
    server = {
        **_role({"system": "http://terminology.hl7.org/CodeSystem/extra-security-role-type", "code": "authserver"}),
        "who": {"display": glass.door},
        "requestor": False,
    }
    said: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": str(glass.event),
        "meta": {"profile": [f"{BALP}/StructureDefinition/IHE.BasicAudit.AuthZconsent"]},
        "type": _ALERT,
        "subtype": [
            {"system": f"{BALP}/CodeSystem/AuthZsubType", "code": "AuthZ-Consent"},
            {"system": OWN, "code": f"break-glass-{glass.does}"},
        ],
        "action": "E",
        "recorded": instant_text(glass.when),
        "outcome": SUCCESS,
        **({"outcomeDesc": glass.said} if glass.said else {}),
        "agent": [
            _client(_APPLICATION, who, requestor=False),
            _user(_RECIPIENT, who.user or who.client, purpose),
            _clinic(who),
            server,
        ],
        "source": {"observer": {"display": glass.door}, "type": [_source_type("6", "Security Server")]},
        "entity": [
            msgspec.Raw(_patient(glass.patient)),
            {
                "type": {"system": "http://hl7.org/fhir/resource-types", "code": "Consent"},
                "what": {"identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{glass.id}"}},
            },
        ],
    }
    return _json(said)
