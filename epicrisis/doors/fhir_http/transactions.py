"""Bundles: a transaction goes in wholly or not at all, each entry of a batch on its own, a message once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from uuid import UUID, uuid4

import msgspec

from epicrisis.doors.fhir_http import bundles, single
from epicrisis.doors.fhir_http.answers import Answer, etag, refusal, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.caller import Caller
from epicrisis.doors.fhir_http.current import Current
from epicrisis.doors.fhir_http.single import Request
from epicrisis.doors.fhir_http.taking import Taking
from epicrisis.doors.refusals import problems_of
from epicrisis.errors import Malformed, Refused
from epicrisis.fhir.gate import Entry
from epicrisis.fhir.outcome import Problem
from epicrisis.intake import Outcome, Receipt

_LETTERS = {"POST": "c", "PUT": "u", "DELETE": "d", None: "u"}
_encode = msgspec.json.Encoder().encode


class _Said(msgspec.Struct, rename="camel"):
    """What is to be done with an entry of a batch."""

    method: str
    url: str
    if_match: str = ""
    if_none_exist: str = ""
    if_none_match: str = ""


class _Entry(msgspec.Struct):
    """An entry of a batch, to be judged alone, also where the gate refuses the batch as a whole."""

    request: _Said
    resource: msgspec.Raw = msgspec.Raw()


class _Batch(msgspec.Struct):
    type: str
    entry: list[_Entry] = []


_batch = msgspec.json.Decoder(_Batch).decode


class Transactions:
    """The handlers. ``get`` answers a GET inside a batch: its address, and its If-None-Match."""

    def __init__(self, taking: Taking, current: Current, get: Callable[[Call, str, str], Answer]) -> None:
        self._taking = taking
        self._current = current
        self._get = get

    def interactions(self) -> Sequence[Interaction]:
        """What is done with several resources at once."""
        return [Interaction(method="POST", path="/", handler=self.process, body="fhir", writes=True)]

    def process(self, call: Call) -> Answer:
        """A transaction or a batch."""
        try:
            checked = self._taking.check(call.body, call.caller)
        except Malformed as error:
            if entries := _entries_of_batch(call.body):
                return self._batch(call, entries)
            raise self._taking.refused(error, call.body, call.caller, found=problems_of(call.body, error)) from None
        kind = checked.parsed.type if checked.resource_type == "Bundle" else ""
        if kind == "batch":
            return self._batch(call, _entries_of_batch(call.body))
        if kind != "transaction":
            text = "send a Bundle of type transaction or batch here; a resource to its own type"
            raise told(400, "invalid", text, checked.resource_type)
        firsts: dict[tuple[str | None, str], int] = {}
        for entry in checked.entries:
            firsts.setdefault((entry.method, _type_of(entry)), entry.index)
        for (method, resource_type), index in firsts.items():
            allowed(call.caller, method, resource_type, f"Bundle.entry[{index}]")
        _each_once(checked.entries)
        try:
            name = uuid4().hex if all(map(_decides_itself, checked.entries)) else None
            receipt = self._taking.take(call.body, call.caller, checked=checked, name=name)
        except Refused as error:
            raise self._taking.refused(error, call.body, call.caller) from None
        single.wrote(call, receipt)
        return Answer(body=self._response("transaction-response", call, receipt))

    def _response(self, kind: str, call: Call, receipt: Receipt) -> bytes:
        whole = call.prefer == "representation"
        return bundles.bundle(kind, (self._line(call, entry, whole) for entry in receipt.entries), (), None)

    def _line(self, call: Call, entry: Outcome, whole: bool) -> bytes:
        """One entry of the answer: ids and versions are plain ASCII, there is nothing to escape."""
        place = f"{entry.resource_type}/{entry.id}"
        if entry.did == "deleted" or not entry.version:
            return f'{{"response":{{"status":"204 No Content","etag":"W/\\"{entry.version}\\""}}}}'.encode()
        status = "201 Created" if entry.did == "created" else "200 OK"
        response = (
            f'"response":{{"status":"{status}","location":"{place}/_history/{entry.version}",'
            f'"etag":"W/\\"{entry.version}\\""}}'
        )
        if whole and (version := self._current.newest(entry.resource_type, entry.id)):
            url = f"{call.base}/{place}".encode()
            return b'{"fullUrl":"%s","resource":%s,%s}' % (url, version.raw, response.encode())
        return f"{{{response}}}".encode()

    def _batch(self, call: Call, entries: Sequence[_Entry]) -> Answer:
        call.accessed.interaction = "batch"
        lines = (self._alone(call, index, entry) for index, entry in enumerate(entries))
        return Answer(body=bundles.bundle("batch-response", lines, (), None))

    def _alone(self, call: Call, index: int, entry: _Entry) -> bytes:
        """The answer to one entry of a batch."""
        try:
            if entry.request.method == "GET":
                answer = self._get(call, entry.request.url, entry.request.if_none_match)
            else:
                return self._written(call, index, entry)
        except Exception as error:
            answer = refusal(error)
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        response: dict[str, object] = {"status": status}
        if answer.version is not None:
            response["etag"] = etag(answer.version)
        if answer.status >= 400:
            return _encode({"response": {**response, "outcome": msgspec.Raw(answer.body)}})
        if not answer.body:
            return _encode({"response": response})
        return _encode({"resource": msgspec.Raw(answer.body), "response": response})

    def _written(self, call: Call, index: int, entry: _Entry) -> bytes:
        said = entry.request
        request = Request(method=said.method, url=said.url, if_match=said.if_match, if_none_exist=said.if_none_exist)
        resource = bytes(entry.resource) or None
        raw = single.transaction(request, resource)

        def placed(problem: Problem) -> Problem:
            return single.problem_of_entry(problem, index)

        try:
            checked = self._taking.check(raw, call.caller)
        except Malformed as error:
            found = problems_of(raw, error)
            raise self._taking.refused(error, raw, call.caller, found=found, told=placed) from None
        (one,) = checked.entries
        allowed(call.caller, one.method, _type_of(one), f"Bundle.entry[{index}]")
        try:
            name = uuid4().hex if _decides_itself(one) else None
            receipt = self._taking.take(raw, call.caller, checked=checked, name=name)
        except Refused as error:
            raise self._taking.refused(error, raw, call.caller, told=placed) from None
        call.accessed.named(map(UUID, receipt.patients))
        return self._line(call, receipt.entries[0], call.prefer == "representation")


def allowed(caller: Caller, method: str | None, resource_type: str, place: str) -> None:
    """403 where the token does not allow this entry."""
    letter = _LETTERS.get(method)
    if letter is not None and not caller.may(resource_type, letter):
        what = {"c": "create", "u": "update", "d": "delete"}[letter]
        raise told(403, "forbidden", f"the access token does not allow this client to {what} {resource_type}", place)


def _each_once(entries: Sequence[Entry]) -> None:
    """400 where two entries are about one resource: https://hl7.org/fhir/R4/http.html#trules."""
    seen: set[str] = set()
    for entry in entries:
        if entry.method in ("PUT", "DELETE") and entry.url:
            if entry.url in seen:
                place = f"Bundle.entry[{entry.index}].request.url"
                raise told(400, "duplicate", "in a transaction each resource is written or deleted once", place)
            seen.add(entry.url)


def _type_of(entry: Entry) -> str:
    """The resource type that an entry is about."""
    return entry.resource_type or (entry.url or "").split("/")[0].split("?")[0]


def _decides_itself(entry: Entry) -> bool:
    """Whether an entry says what is to be, so that it may simply be decided anew; see `writing`."""
    if entry.method == "POST":
        return entry.if_none_exist is not None
    return entry.method == "DELETE" or entry.if_match is None


def _entries_of_batch(raw: bytes) -> list[_Entry]:
    """The entries of a batch, as they were sent; none where this is no batch, or not to be read as one."""
    try:
        batch = _batch(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    return batch.entry if batch.type == "batch" else []
