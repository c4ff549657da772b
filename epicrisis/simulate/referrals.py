"""One clinic asks another: the ServiceRequest of the one, the Task of the other."""

from __future__ import annotations

from dataclasses import dataclass

from epicrisis.simulate.case import Case
from epicrisis.simulate.fhir import SNOMED, Json, concept, hl7
from epicrisis.simulate.illness import Illness
from epicrisis.simulate.letter import Letter
from epicrisis.simulate.tables import table
from epicrisis.simulate.world import Site

REFERRAL = "3457005"  # Patient referral (procedure)


@dataclass(slots=True)
class Referral:
    """A ServiceRequest, and the Task of the clinic it was sent to."""

    id: str
    sender: Site
    receiver: Site
    request: Json
    task_id: str

    def link(self, case: Case, writer: Site) -> Json:
        """A reference to the request, as a site has to write it."""
        return case.link("ServiceRequest", self.id, self.sender, writer)


def refer(
    case: Case, letter: Letter, receiver: Site, what_for: str, illness: Illness | None, priority: str = "routine"
) -> Referral:
    """Ask a clinic for a service."""
    ident = case.id("ref")
    made: Json = {"resourceType": "ServiceRequest", "id": ident}
    made["identifier"] = [{"system": "urn:epicrisis:referral", "value": f"{letter.site.operator}/{ident}"}]
    made |= {"status": "active", "intent": "order", "priority": priority}
    made["code"] = concept(SNOMED, REFERRAL, "Patient referral (procedure)", what_for)
    made |= {"subject": case.subject(letter.site), "authoredOn": letter.time()}
    made |= {"requester": letter.site.reference, "performer": [receiver.reference]}
    if illness:
        made["reasonReference"] = [illness.link(case, letter.site)]
    letter.put(made)
    return Referral(ident, letter.site, receiver, made, case.id("task"))


def progress(case: Case, letter: Letter, referral: Referral, status: str, **more: object) -> Json:
    """How far it has got, as a version of the receiving clinic's Task: accepted, rejected, ready, completed."""
    made: Json = {"resourceType": "Task", "id": referral.task_id, "status": status}
    if status == "rejected":
        made["statusReason"] = {"text": case.chance.one(table("diseases")["words"]["declined"])}
    made |= {"intent": "order", "code": hl7("task-code", "fulfill", "Fulfill the focal request")}
    made |= {"focus": referral.link(case, letter.site), "for": case.subject(letter.site)}
    made |= more | {"authoredOn": letter.time(), "lastModified": letter.time()}
    return letter.put(made | {"requester": referral.sender.reference, "owner": referral.receiver.reference})


def withdraw(letter: Letter, referral: Referral) -> None:
    """The sender no longer needs it."""
    letter.put(referral.request | {"meta": {"lastUpdated": letter.time()}, "status": "revoked"})
