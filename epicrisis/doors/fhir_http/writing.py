"""Writing: create, update and delete of one resource, with or without conditions.

Each is a transaction of one entry (`single`), so that it goes in as every message does, and is finished if the process
is killed. Where the interaction is repeated by a client that got no answer, nothing happens twice: a create (or an
update of a named version) is recognised by its bytes; an update, a deletion and what has a condition say what is to be,
and are decided anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from epicrisis.doors.fhir_http import single
from epicrisis.doors.fhir_http.answers import Answer, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.current import Current
from epicrisis.doors.fhir_http.single import Request
from epicrisis.doors.fhir_http.taking import Taking
from epicrisis.doors.refusals import problems_of
from epicrisis.errors import Malformed, Refused
from epicrisis.fhir import problems as slow
from epicrisis.fhir.gate import Checked
from epicrisis.fhir.outcome import Problem, outcome
from epicrisis.intake import Outcome, Receipt


class Writing:
    """The handlers."""

    def __init__(self, taking: Taking, current: Current) -> None:
        self._taking = taking
        self._current = current

    def interactions(self) -> Sequence[Interaction]:
        """What is done with one resource."""
        return [
            Interaction(method="POST", path="/{type}", handler=self.create, letter="c", body="fhir", writes=True),
            Interaction(method="PUT", path="/{type}/{id}", handler=self.update, letter="u", body="fhir", writes=True),
            Interaction(method="PUT", path="/{type}", handler=self.update_found, letter="u", body="fhir", writes=True),
            Interaction(method="DELETE", path="/{type}/{id}", handler=self.delete, letter="d", writes=True),
            Interaction(method="POST", path="/{type}/$validate", handler=self.validate, body="fhir"),
            Interaction(method="POST", path="/$validate", handler=self.validate, body="fhir"),
        ]

    def create(self, call: Call) -> Answer:
        """POST: 201, or 200 where it was there already (the same bytes again, or what If-None-Exist names)."""
        condition = single.if_none_exist(call)
        request = Request(method="POST", url=call.path["type"], if_none_exist=condition)
        return self._written(call, request, once=not condition)

    def update(self, call: Call) -> Answer:
        """PUT under the sender's own id or the cluster's: 201 where it is new; If-Match: only of that version."""
        url = f"{call.path['type']}/{single.own_id(call)}"
        expected = call.headers.get("if-match", "")
        return self._written(call, Request(method="PUT", url=url, if_match=expected), once=bool(expected))

    def update_found(self, call: Call) -> Answer:
        """PUT ``Type?identifier=system|value``: whichever has it, or a new one."""
        condition = single.condition(call)
        if not condition:
            raise told(400, "required", "name the resource: PUT Type/id, or Type?identifier=system|value")
        request = Request(
            method="PUT", url=f"{call.path['type']}?{condition}", if_match=call.headers.get("if-match", "")
        )
        return self._written(call, request, once=False)

    def delete(self, call: Call) -> Answer:
        """DELETE says that it was entered in error: it is retracted, its versions stay."""
        kind = call.path["type"]
        url = f"{kind}/{single.own_id(call)}"
        request = Request(method="DELETE", url=url, if_match=call.headers.get("if-match", ""))
        receipt = self._take(call, request, None)
        if call.prefer == "OperationOutcome":
            return self._said(receipt.entries[0], 200)
        return Answer(status=204, version=receipt.entries[0].version or None)

    def validate(self, call: Call) -> Answer:
        """All that the gate has against a resource; nothing is taken in."""
        raw = single.to_validate(call)
        found = slow.problems(raw)
        if not found and "type" in call.path:
            single.of_type(self._taking.check(raw, call.caller), call)
        return Answer(body=outcome(found))

    def _written(self, call: Call, request: Request, *, once: bool) -> Answer:
        kind = call.path["type"]
        try:
            checked = self._taking.check(call.body, call.caller)
        except Malformed as error:
            raw = single.transaction(request, call.body)
            raise self._taking.refused(error, raw, call.caller, found=problems_of(call.body, error)) from None
        single.of_type(checked, call)
        receipt = self._take(call, request, checked, once=once)
        while once and receipt.repeated and self._is_over(receipt, request):  # then it is meant as a new one
            receipt = self._take(call, request, checked, name=f"after {receipt.message}")
        entry = receipt.entries[0]
        status = 201 if entry.did == "created" and not receipt.repeated else 200
        location = f"{call.base}/{kind}/{entry.id}/_history/{entry.version}" if entry.version else ""
        if call.prefer == "OperationOutcome":
            answer = self._said(entry, status)
        elif call.prefer == "minimal":
            answer = Answer(status=status)
        else:
            version = self._current.newest(kind, entry.id)
            if version is None:
                answer = Answer(status=status)
            else:
                answer = Answer(status=status, body=version.raw, modified=version.recorded)
        return replace(answer, version=entry.version or None, location=location)

    def _is_over(self, receipt: Receipt, request: Request) -> bool:
        """Whether what was created then was entered in error since."""
        made = receipt.entries[0]
        return request.method == "POST" and self._current.is_retracted(made.resource_type, made.id)

    def _take(
        self, call: Call, request: Request, resource: Checked | None, *, once: bool = False, name: str | None = None
    ) -> Receipt:
        """``once``: the same bytes again are the same message; else the same ``name``."""
        raw = single.transaction(request, None if resource is None else resource.raw)
        kind = call.path["type"]
        try:
            receipt = self._taking.take(
                raw,
                call.caller,
                checked=single.checked(raw, request, resource),
                name=name or (None if once else uuid4().hex),
            )
        except Refused as error:
            raise self._taking.refused(
                error, raw, call.caller, told=lambda problem: single.problem_of(problem, kind)
            ) from None
        single.wrote(call, receipt)
        return receipt

    def _said(self, entry: Outcome, status: int) -> Answer:
        text = f"{entry.resource_type}/{entry.id} was {entry.did}"
        found = Problem(severity="information", code="informational", expression="", text=text)
        return Answer(status=status, body=outcome([found]))
