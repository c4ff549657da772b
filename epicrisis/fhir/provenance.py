"""Where a version comes from: a Provenance (https://hl7.org/fhir/R4/provenance.html) of each, made from its event.

It is made when it is asked for, and stored nowhere: everything in it is the event's envelope.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from .values import CLINIC, instant_text

OPERATOR = "urn:epicrisis:operator"
"""The identifier system by which a resource names an operator."""
PROVENANCE = "Provenance"
_TYPE = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_DATA = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
_MISTAKES = ("Retracted", "EnteredInError")
"""How the events are called that say that a resource was a mistake."""
_URI = "urn:ietf:rfc:3986"
_PLACE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([1-9][0-9]{0,8})\Z").match


class Origin(NamedTuple):
    """What an event's envelope says. ``n`` is its number in its subject's history, ``seq`` that in its service's;
    ``stream`` is ``Type/id``.
    """

    subject: UUID
    n: int
    event: UUID
    type: str
    stream: str
    source: str
    seq: int
    operator: str
    clinic: str
    effective: datetime
    recorded: datetime
    message: UUID | None

    @property
    def id(self) -> str:
        """The Provenance's id: the subject and ``n``, which is the event's position in the ledger."""
        return f"{self.subject}.{self.n}"


def place_of(id_: str) -> tuple[UUID, int] | None:
    """The subject and the number that the id of such a Provenance names; None where it is not one's."""
    found = _PLACE(id_)
    return (UUID(found[1]), int(found[2])) if found else None


def provenance(origin: Origin, target: str, number: int) -> bytes:
    """The Provenance of a version; ``target`` is ``Type/id``, ``number`` which version."""
    when = instant_text(origin.recorded)
    operator = {"type": "Organization", "identifier": {"system": OPERATOR, "value": origin.operator}}
    clinic = {"type": "Organization", "identifier": {"system": CLINIC, "value": origin.clinic}}
    entities = [_source(origin.event, f"event {origin.n} of this history: {origin.source} {origin.seq}")]
    if origin.message is not None:
        entities.insert(0, _source(origin.message, "the message that it came in"))
    made: dict[str, Any] = {
        "resourceType": PROVENANCE,
        "id": origin.id,
        "meta": {"versionId": "1", "lastUpdated": when},
        "target": [{"reference": f"{target}/_history/{number}"}],
        "occurredDateTime": instant_text(origin.effective),
        "recorded": when,
        "activity": _coded(_DATA, _did(origin.type, number)),
        "agent": [
            {"type": _coded(_TYPE, "author"), "who": clinic, "onBehalfOf": operator},
            {"type": _coded(_TYPE, "custodian"), "who": operator},
        ],
        "entity": entities,
    }
    return msgspec.json.encode(made)


def _did(type_: str, number: int) -> str:
    return "NULLIFY" if type_.endswith(_MISTAKES) else "CREATE" if number == 1 else "UPDATE"


def _coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _source(id_: UUID, display: str) -> dict[str, Any]:
    return {"role": "source", "what": {"identifier": {"system": _URI, "value": f"urn:uuid:{id_}"}, "display": display}}
