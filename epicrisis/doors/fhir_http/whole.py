"""A patient's whole chart, as it is, or as it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import msgspec

from epicrisis.doors.fhir_http import bundles
from epicrisis.doors.fhir_http.answers import Answer, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.caller import is_resource_type
from epicrisis.doors.fhir_http.chart import DIRECTORY, Row
from epicrisis.doors.fhir_http.pages import Page
from epicrisis.doors.fhir_http.past import AS_OF, AT, Past, when_of
from epicrisis.doors.fhir_http.query import count_of, is_uuid
from epicrisis.doors.fhir_http.reading import (
    PAGE,
    Reader,
    Seen,
    links_of,
    since_of,
    unknown,
)
from epicrisis.doors.fhir_http.searching import kept_of, matches, others

EVERYTHING = "everything"
ASKED = ("_since", "_type", "_count", AT, AS_OF)
"""The parameters of the operation."""
_TO_DIRECTORY = re.compile(
    rb'"reference"[ \t\r\n]*:[ \t\r\n]*"(?:%s)/([0-9a-f-]{36})["/]' % "|".join(DIRECTORY).encode()
).findall
"""The ids of the entries of the directory that a resource refers to."""


class Whole:
    """The interactions that read many resources at once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def interactions(self) -> list[Interaction]:
        return [
            Interaction(method="GET", path="/Patient/{id}/$everything", handler=self.everything),
            Interaction(method="POST", path="/Patient/{id}/$everything", body="fhir", handler=self.everything_asked),
        ]

    def everything(self, call: Call) -> Answer:
        """A patient's current resources, the Patient first, and with each page what they refer to in the directory."""
        if not call.caller.may("Patient", "r"):
            raise told(403, "forbidden", "the access token does not allow this client to read Patient")
        given, last = _asked(call.query), None
        if PAGE in given:
            page = self._reader.pages.open(given[PAGE], call.caller.clinic)
            if page.kind != EVERYTHING:
                raise told(400, "value", "this page is not known: begin anew")
            given, last = dict(page.given), page.last[0]
        count = max(1, count_of(given["_count"])) if given.get("_count") else 1000
        since, types = since_of(given.get("_since", "")), _types(given.get("_type", ""))
        when = when_of(given.get(AT, ""), given.get(AS_OF, ""))
        with self._reader.seen(call) as seen:
            subject = self._reader.subject(seen, call.path["id"])
            if when is not None:
                seen.view = Past(seen.view, when)
            rows = _current(seen, subject, types, since)
            start = 0 if last is None else next((n for n, row in enumerate(rows) if str(row.id) == last), -1) + 1
            shown, more = rows[start : start + count], rows[start + count :]
            problems = [*unknown(call, *ASKED), *seen.problems({subject})]
            entries, bodies = matches(call, shown, kept_of(seen.view, shown), problems)
            wanted = sorted({id_.decode() for _, raw in bodies for id_ in _TO_DIRECTORY(raw)})
            entries += others(seen, [UUID(id_) for id_ in wanted if is_uuid(id_)], types)
        if problems:
            entries.append(bundles.told(problems))
        onward = Page(EVERYTHING, "Patient", list(given.items()), [str(shown[-1].id)]) if more else None
        used = [(name, value) for name, value in given.items() if name in ASKED]
        links = links_of(self._reader, call, f"Patient/{call.path['id']}/$everything", onward, used)
        return Answer(body=bundles.bundle("searchset", entries, links, len(rows)))

    def everything_asked(self, call: Call) -> Answer:
        """The same by POST, its parameters in the body, as a Parameters resource."""
        return self.everything(replace(call, query=[*call.query, *_given(call.body)]))


def _asked(query: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The parameters, each once; the types of a repeated ``_type`` together."""
    types = [value for name, value in query if name == "_type"]
    return dict(query) | ({"_type": ",".join(types)} if types else {})


class _Parameter(msgspec.Struct):
    name: str = ""
    valueInteger: int | None = None
    valueCode: str | None = None
    valueString: str | None = None
    valueInstant: str | None = None
    valueDateTime: str | None = None

    @property
    def said(self) -> str:
        """Its value as it would stand in an address."""
        values = (self.valueInteger, self.valueCode, self.valueString, self.valueInstant, self.valueDateTime)
        return next((str(value) for value in values if value is not None), "")


class _Parameters(msgspec.Struct):
    parameter: list[_Parameter] = []


def _given(body: bytes) -> list[tuple[str, str]]:
    """What a Parameters resource says."""
    if not body:
        return []
    try:
        given = msgspec.json.decode(body, type=_Parameters).parameter
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise told(400, "structure", "the body is a Parameters resource, or empty") from None
    return [(one.name, one.said) for one in given]


def _types(text: str) -> tuple[str, ...]:
    types = tuple(filter(None, text.split(",")))
    if not all(map(is_resource_type, types)):
        raise told(400, "value", "_type lists types of FHIR R4")
    return types


def _current(seen: Seen, subject: UUID, types: Sequence[str], since: datetime | None) -> list[Row]:
    """The resources of a patient that the caller may read, the Patient first, then by id."""
    newest: dict[UUID, Row] = {}
    for row, _ in sorted(seen.view.of_subject(subject), key=lambda one: (one[0].recorded, one[0].source)):
        older = newest.get(row.id)
        newest[row.id] = row if older is None else row._replace(before=older.before + older.version)
    allowed = {kind: seen.call.caller.may(kind, "r") for kind in {row.resource_type for row in newest.values()}}
    rows = [
        row
        for row in newest.values()
        if not row.retracted
        and allowed[row.resource_type]
        and (not types or row.resource_type in types)
        and (since is None or row.recorded >= since)
    ]
    rows.sort(key=lambda row: (row.resource_type != "Patient", row.id.int))
    return rows
