"""$process-message: once per MessageHeader.id.

https://hl7.org/fhir/R4/messageheader-operation-process-message.html
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET

from epicrisis import logging
from epicrisis.doors.fhir_http.answers import Answer, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.taking import DOOR, Taking
from epicrisis.doors.fhir_http.transactions import allowed
from epicrisis.doors.refusals import problems_of
from epicrisis.errors import Malformed, Refused
from epicrisis.fhir.gate import Checked
from epicrisis.fhir.outcome import Problem

USED = Problem(
    severity="error",
    code="duplicate",
    expression="Bundle.entry[0].resource.id",
    text="this id was used before, for another message",
)

log = logging.get(__name__)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Messages:
    """The handler."""

    def __init__(self, taking: Taking) -> None:
        self._taking = taking

    def interactions(self) -> Sequence[Interaction]:
        """The operation."""
        return [
            Interaction(method="POST", path="/$process-message", handler=self.process, body="fhir", writes=True),
        ]

    def process(self, call: Call) -> Answer:
        """Take a message in; the same MessageHeader again gets the first answer, whatever else has changed.

        Where that is what the message says, it is kept in quarantine: whoever gives every message the same id loses
        none.
        """
        try:
            checked = self._taking.check(call.body, call.caller)
        except Malformed as error:
            raise self._taking.refused(error, call.body, call.caller, found=problems_of(call.body, error)) from None
        name = _name(checked)
        for entry in checked.entries:
            allowed(call.caller, entry.method, entry.resource_type or "", f"Bundle.entry[{entry.index}]")
        try:
            mark = _content_of(checked)
            receipt = self._taking.take(call.body, call.caller, checked=checked, name=name, mark=mark)
        except Refused as error:
            raise self._taking.refused(error, call.body, call.caller, name=name) from None
        if receipt.repeated and receipt.mark not in ("", mark):
            log.warning("message with the name of another", operator=call.caller.operator, door=DOOR)
            self._taking.keep(call.body, call.caller, USED)
        call.accessed.named(map(UUID, receipt.patients))
        header = {
            "resourceType": "MessageHeader",
            "id": str(uuid5(receipt.message, "response")),
            **_event_of(checked),
            "source": {"endpoint": call.base},
            "response": {"identifier": name, "code": "ok"},
        }
        url = f"urn:uuid:{UUID(str(header['id']))}"
        bundle = {"resourceType": "Bundle", "type": "message", "entry": [{"fullUrl": url, "resource": header}]}
        return Answer(body=_encode(bundle))


def _content_of(checked: Checked) -> str:
    """What tells one message from another with the same id: its event, and all behind the MessageHeader."""
    said = [*map(bytes, _event_of(checked).values()), *(entry.raw or b"" for entry in checked.entries[1:])]
    return sha256(b"\0".join(said)).hexdigest()[:16]


def _event_of(checked: Checked) -> dict[str, msgspec.Raw]:
    """What a message is about: the answer says it again, as it was sent."""
    members = _members(checked.entries[0].raw or b"{}")
    return {name: members[name] for name in ("eventCoding", "eventUri") if name in members}


def _name(checked: Checked) -> str:
    """The MessageHeader's id."""
    first = checked.entries[0] if checked.entries else None
    if checked.resource_type != "Bundle" or checked.parsed.type != "message" or first is None:
        raise told(400, "invalid", "send a Bundle of type message", checked.resource_type)
    if first.resource_type != "MessageHeader":
        raise told(400, "invalid", "a message begins with its MessageHeader", "Bundle.entry[0].resource")
    if first.parsed.id is UNSET:
        text = "the MessageHeader needs an id: by that the message is known when it is sent again"
        raise told(400, "required", text, "Bundle.entry[0].resource.id")
    return str(first.parsed.id)
