"""One resource's interaction as a transaction of one entry: then there is one way in, and it can be finished later.

What comes back about a place in that Bundle is told as a place in the resource.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgspec
from msgspec import UNSET

from epicrisis.doors.fhir_http.answers import told
from epicrisis.doors.fhir_http.app import Call
from epicrisis.fhir.gate import Checked, Entry
from epicrisis.fhir.outcome import Problem
from epicrisis.intake import Receipt

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z").match
_ENTRY = re.compile(r"Bundle\.entry\[0\](?:\.resource|\.request\.\w+)?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]").search
_encode = msgspec.json.Encoder().encode


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Bundle.entry.request."""

    method: str
    url: str
    if_match: str = ""
    if_none_exist: str = ""


class _Parameter(msgspec.Struct):
    name: str = ""
    resource: msgspec.Raw = msgspec.Raw()


class _Parameters(msgspec.Struct, tag_field="resourceType", tag="Parameters"):
    parameter: list[_Parameter] = []


_parameters = msgspec.json.Decoder(_Parameters).decode


def to_validate(call: Call) -> bytes:
    """The resource: what is sent, or what a Parameters resource has as ``resource``.

    https://hl7.org/fhir/R4/resource-operation-validate.html

    Raises
    ------
    Told
        400: it is to be checked against a profile.
    """
    try:
        given = _parameters(call.body).parameter if call.path.get("type") != "Parameters" else []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        given = []
    if "profile" in {name for name, _ in call.query} | {one.name for one in given}:
        raise told(400, "not-supported", "profiles are not checked here: leave `profile` out")
    return next((bytes(one.resource) for one in given if one.name == "resource"), call.body)


def own_id(call: Call) -> str:
    """The id in the path; 404 where it can be no resource's."""
    if not _ID(call.path["id"]):
        raise told(404, "not-found", "this is no id of a resource")
    return call.path["id"]


def condition(call: Call) -> str:
    """What the query says about which resource is meant, in the form that intake reads; empty where nothing."""
    return _query([(name, value) for name, value in call.query if not name.startswith("_") or name == "_id"])


def if_none_exist(call: Call) -> str:
    """The condition of a create: its header, or the query as some clients do."""
    given = call.headers.get("if-none-exist", "")
    return _query(parse_qsl(given.lstrip("?"), keep_blank_values=True)) if given else condition(call)


def _query(terms: list[tuple[str, str]]) -> str:
    if any(_UNPRINTABLE(name + value) for name, value in terms):
        raise told(400, "value", "the condition holds a control character")
    return urlencode(terms)


def transaction(request: Request, resource: bytes | None) -> bytes:
    """A Bundle with this one entry; the resource's bytes as they are."""
    inside = b'"resource":%s,' % resource if resource is not None else b""
    return b'{"resourceType":"Bundle","type":"transaction","entry":[{%s"request":%s}]}' % (inside, _encode(request))


def checked(raw: bytes, request: Request, resource: Checked | None) -> Checked:
    """What the gate would say of `transaction`, where it passed the resource alone."""
    entry = Entry(0, None, request.method, request.url, request.if_none_exist or None, None, None, None)
    entry.if_match = request.if_match or None
    if resource is not None:
        entry.raw, entry.parsed, entry.resource_type = resource.raw, resource.parsed, resource.resource_type
    return Checked("Bundle", raw, None, [entry])


def wrote(call: Call, receipt: Receipt) -> None:
    """What a write did, for the access log."""
    accessed = call.accessed
    accessed.named(map(UUID, receipt.patients))
    did = {entry.did for entry in receipt.entries}
    accessed.action = "C" if "created" in did else "U" if "updated" in did else "D" if "deleted" in did else None
    if len(receipt.entries) == 1 and receipt.entries[0].version:
        entry = receipt.entries[0]
        accessed.what = f"{entry.resource_type}/{entry.id}/_history/{entry.version}"
    elif len(receipt.entries) > 1:
        accessed.what = f"urn:uuid:{receipt.message}"


def of_type(resource: Checked, call: Call) -> None:
    """400 where the body's type or id is not the address's."""
    kind = call.path["type"]
    if resource.resource_type != kind:
        raise told(400, "invalid", f"the resource in the body is not a {kind}", resource.resource_type)
    if "id" in call.path and resource.parsed.id != call.path["id"]:
        what = "required" if resource.parsed.id is UNSET else "invalid"
        raise told(400, what, "the id in the body must be the id in the address", f"{kind}.id")


def as_resource(text: str, kind: str) -> str:
    """A place in the transaction as a place in the resource: ``Patient.name`` for ``Bundle.entry[0].resource.name``."""
    return _ENTRY.sub(kind, text)


def problem_of(problem: Problem, kind: str) -> Problem:
    """The same for a problem's text and place."""
    return replace(problem, expression=as_resource(problem.expression, kind), text=as_resource(problem.text, kind))


def problem_of_entry(problem: Problem, index: int) -> Problem:
    """The same where the resource came as an entry of a batch: there it has this number."""
    first, here = "Bundle.entry[0]", f"Bundle.entry[{index}]"
    return replace(problem, expression=problem.expression.replace(first, here), text=problem.text.replace(first, here))
