"""Reading one resource: read and vread. What histories, searches and whole charts share is in `Reader`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from urllib.parse import urlencode
from uuid import UUID

from epicrisis import versions
from epicrisis.doors.fhir_http import bundles
from epicrisis.doors.fhir_http.answers import Answer, Told, etag, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.chart import Chart, Kept, Place, Row, Rows, Version, View
from epicrisis.doors.fhir_http.names import Names
from epicrisis.doors.fhir_http.pages import Page, Pages
from epicrisis.doors.fhir_http.query import IDENTIFIED, IGNORED, Named
from epicrisis.doors.fhir_http.written import Written
from epicrisis.fhir.outcome import Problem
from epicrisis.fhir.search import interval

PAGE = "_page"
STRICT = re.compile(r"handling=strict\b", re.I).search
LATE = Problem(
    severity="warning",
    code="incomplete",
    expression="",
    text="what this client wrote last may be missing: it cannot be read yet",
)
PARKED = Problem(
    severity="warning",
    code="incomplete",
    expression="",
    text="the newest events of this patient may be missing: they wait to be applied",
)
UNREADABLE = Problem(
    severity="warning",
    code="incomplete",
    expression="",
    text="resources were left out whose record was erased, or which cannot be read yet",
)
_SOON = {"Retry-After": "1"}
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z").match


@dataclass(slots=True)
class Seen:
    """What one call reads: the view of its clinic, and what is to be said about the answer."""

    call: Call
    view: View
    late: bool = False
    """What the client wrote is not there yet."""

    def found(self, row: Row) -> None:
        """The call is about this resource."""
        self.call.accessed.what = f"{row.resource_type}/{row.id}"
        if row.source != "directory":
            self.call.accessed.named([row.subject])

    def problems(self, subjects: set[UUID]) -> list[Problem]:
        """What an answer about these subjects may lack."""
        found = [LATE] if self.late else []
        if subjects and self.view.incomplete(subjects):
            found.append(PARKED)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What every way of reading needs. Share one between threads."""

    chart: Chart
    names: Names
    pages: Pages
    written: Written

    @contextmanager
    def seen(self, call: Call) -> Iterator[Seen]:
        """What the caller's clinic sees, once what this client wrote can be read."""
        opened = call.caller.opened
        with self.chart.seen_by(call.caller.clinic, call.accessed, opened.patient if opened else None) as view:
            yield Seen(call, view, late=not self.written.settled(call.caller.client, view.versions_of))

    def find(self, seen: Seen, resource_type: str, id_: str) -> Rows:
        """The rows of a resource that is named by the cluster's id or by the operator's own.

        Raises
        ------
        Told
            404; 503 where the client wrote just now, and it may be that.
        """
        named = Named((resource_type,), id_)
        for journals in (False, True) if resource_type in IDENTIFIED else (False,):
            ids = self.names.ids(seen.call.caller.operator, named, journals=journals)
            known = seen.view.by_ids(ids)
            for one in ids:
                if (rows := known.get(one)) and rows[-1][0].resource_type == resource_type:
                    seen.found(rows[-1][0])
                    return rows
        if seen.late:
            raise told(503, "transient", "what this client wrote last cannot be read yet: ask again", headers=_SOON)
        raise told(404, "not-found", "this clinic knows no such resource")

    def subject(self, seen: Seen, id_: str) -> UUID:
        """The patient whom a client names.

        Raises
        ------
        Told
            404: the clinic does not know this patient.
        """
        return self.find(seen, "Patient", id_)[-1][0].subject


def warned(answer: Answer, problems: Sequence[Problem]) -> Answer:
    """With a header for each, where the body has no place for it."""
    if not problems:
        return answer
    said = ", ".join(f'199 - "{problem.text}"' for problem in problems)
    return Answer(
        status=answer.status,
        body=answer.body,
        version=answer.version,
        modified=answer.modified,
        location=answer.location,
        media=answer.media,
        headers={**answer.headers, "Warning": said},
    )


def version_of(rows: Rows, number: int) -> Version | None:
    """The version of this number; they are counted over all services that kept the resource."""
    for row, seqs in rows:
        if row.before < number <= row.before + row.version:
            place = Place(row.subject, row.source, seqs[number - row.before - 1])
            return Version(row, number, place, row.recorded)
    return None


def all_of(rows: Rows) -> list[Version]:
    """The versions of a resource, the newest first."""
    newest = rows[-1][0]
    found = (version_of(rows, number) for number in range(newest.before + newest.version, 0, -1))
    return [one for one in found if one]


def body_of(row: Row, kept: Kept | None, *, newest: bool) -> bytes:
    """The bytes that were sent.

    Raises
    ------
    Told
        410: deleted, entered in error without a version that says so, or erased; 503: not there yet.
    """
    if kept is None:
        raise told(503, "transient", "this version cannot be read yet: ask again", headers=_SOON)
    if kept.raw is None:
        raise told(410, "deleted", "this record was erased")
    if is_gone(row, kept.raw, newest=newest):
        gone = told(410, "deleted", "this resource was entered in error and deleted: its history still shows it")
        raise Told(_with_version(gone.answer, row))
    return kept.raw


def is_gone(row: Row, raw: bytes, *, newest: bool) -> bool:
    """See `versions.is_gone`."""
    return versions.is_gone(raw, retracted=newest and row.retracted)


def _with_version(answer: Answer, row: Row) -> Answer:
    return Answer(status=answer.status, body=answer.body, version=row.before + row.version)


Made = Callable[[Reader, Call], Answer | None]
"""Answers for resources that are not stored, but made when they are asked for; None where this is none of them."""


class Resources:
    """The interactions with one resource. ``made``: types of which some are not stored."""

    def __init__(self, reader: Reader, made: Mapping[str, Made] = MappingProxyType({})) -> None:
        self._reader = reader
        self._made = made

    def interactions(self) -> list[Interaction]:
        return [
            Interaction(method="GET", path="/{type}/{id}", letter="r", handler=self.read),
            Interaction(method="GET", path="/{type}/{id}/_history/{version}", letter="r", handler=self.vread),
        ]

    def read(self, call: Call) -> Answer:
        """The newest version."""
        made = self._made.get(call.path["type"])
        if made is not None and (answer := made(self._reader, call)) is not None:
            return answer
        with self._reader.seen(call) as seen:
            rows = self._reader.find(seen, call.path["type"], call.path["id"])
            row = rows[-1][0]
            number = row.before + row.version
            raw = body_of(row, seen.view.kept([row.place]).get(row.place), newest=True)
            problems = seen.problems({row.subject})
        if etag(number) in _etags(call.headers.get("if-none-match", "")):
            return Answer(status=304, version=number, modified=row.recorded)
        body = bundles.shown(raw, str(row.id), number, row.recorded)
        return warned(Answer(body=body, version=number, modified=row.recorded), problems)

    def vread(self, call: Call) -> Answer:
        """The version of this number."""
        wanted = call.path["version"]
        with self._reader.seen(call) as seen:
            rows = self._reader.find(seen, call.path["type"], call.path["id"])
            found = version_of(rows, int(wanted)) if _NUMBER(wanted) else None
            if found is None:
                raise told(404, "not-found", "this resource has no such version")
            kept = seen.view.kept([found.place]).get(found.place)
            raw = body_of(found.row, kept, newest=False)
            assert kept is not None, "or there were no bytes"
        body = bundles.shown(raw, str(found.row.id), found.number, kept.recorded)
        return Answer(body=body, version=found.number, modified=kept.recorded)


def _etags(text: str) -> list[str]:
    """The tags of an If-None-Match, compared weakly: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2."""
    return ["W/" + tag.strip().removeprefix("W/") for tag in text.split(",")]


def unknown(call: Call, *known: str) -> list[Problem]:
    """A warning where the client gave other parameters than these, or 400 where it wants none left out."""
    if {name for name, _ in call.query} <= {*known, *IGNORED, PAGE}:
        return []
    if STRICT(call.headers.get("prefer", "")):
        raise told(400, "not-supported", "a parameter is not known here: see /metadata")
    text = "a parameter is not known here, and was left out: see /metadata"
    return [Problem(severity="warning", code="not-supported", expression="", text=text)]


def since_of(text: str) -> datetime | None:
    """``_since``, an instant."""
    if not text:
        return None
    try:
        return interval(text.replace(" ", "+"))[0]
    except (ValueError, OverflowError, IndexError):
        raise told(400, "value", "_since is an instant: write 2026-03-01T12:00:00Z") from None


def links_of(
    reader: Reader, call: Call, path: str, page: Page | None, given: Iterable[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """The links of a Bundle: to what was asked for and heeded, in the same words; onward, which says nothing of it."""
    asked = urlencode([pair for pair in given if pair[0] != PAGE])
    links = [("self", f"{call.base}/{path}{'?' if asked else ''}{asked}")]
    if page is not None:
        links.append(("next", f"{call.base}/{path}?{PAGE}={reader.pages.seal(page, call.caller.clinic)}"))
    return links
