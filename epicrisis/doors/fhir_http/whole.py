"""Whole charts: a patient's everything, and the histories of a patient and of a type."""

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
from epicrisis.doors.fhir_http.chart import DIRECTORY, Condition, Row, Version
from epicrisis.doors.fhir_http.pages import Page
from epicrisis.doors.fhir_http.query import Named, Sort, count_of, is_uuid
from epicrisis.doors.fhir_http.reading import (
    PAGE,
    UNREADABLE,
    Reader,
    Rows,
    Seen,
    links_of,
    paging,
    since_of,
    unknown,
    version_entry,
    version_of,
)
from epicrisis.doors.fhir_http.searching import ROSTER, kept_of, matches, others, patients
from epicrisis.fhir.outcome import Problem

EVERYTHING = "everything"
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
            Interaction(method="GET", path="/{type}/_history", letter="s", handler=self.of_type),
            Interaction(method="GET", path="/_history", handler=self.of_patient),
        ]

    def everything(self, call: Call) -> Answer:
        """A patient's current resources, the Patient first, and with each page what they refer to in the directory."""
        if not call.caller.may("Patient", "r"):
            raise told(403, "forbidden", "the access token does not allow this client to read Patient")
        given, last = dict(call.query), None
        if PAGE in given:
            page = self._reader.pages.open(given[PAGE], call.caller.clinic)
            if page.kind != EVERYTHING:
                raise told(400, "value", "this page is not known: begin anew")
            given, last = dict(page.given), page.last[0]
        count = max(1, count_of(given["_count"])) if given.get("_count") else 1000
        since, types = since_of(given.get("_since", "")), _types(given.get("_type", ""))
        with self._reader.seen(call) as seen:
            subject = self._reader.subject(seen, call.path["id"])
            rows = _current(seen, subject, types, since)
            start = 0 if last is None else next((n for n, row in enumerate(rows) if str(row.id) == last), -1) + 1
            shown, more = rows[start : start + count], rows[start + count :]
            problems = [*unknown(call, "_since", "_type", "_count"), *seen.problems({subject})]
            entries, bodies = matches(call, shown, kept_of(seen.view, shown), problems)
            wanted = sorted({id_.decode() for _, raw in bodies for id_ in _TO_DIRECTORY(raw)})
            entries += others(seen, [UUID(id_) for id_ in wanted if is_uuid(id_)], types)
        if problems:
            entries.append(bundles.told(problems))
        onward = Page(EVERYTHING, "Patient", list(given.items()), [str(shown[-1].id)]) if more else None
        links = links_of(self._reader, call, f"Patient/{call.path['id']}/$everything", onward, given.items())
        return Answer(body=bundles.bundle("searchset", entries, links, len(rows)))

    def everything_asked(self, call: Call) -> Answer:
        """The same by POST, its parameters in the body, as a Parameters resource."""
        return self.everything(replace(call, query=[*call.query, *_given(call.body)]))

    def of_patient(self, call: Call) -> Answer:
        """All versions of all resources of one patient, the newest first."""
        count, since, at = paging(self._reader, call, "patient")
        named = dict(at.given if at else call.query).get("patient", "")
        if not named:
            raise told(400, "required", "name a patient: /_history?patient=<id>, or a type: /<type>/_history")
        with self._reader.seen(call) as seen:
            subjects = patients(self._reader, seen, Named(("Patient",), named.removeprefix("Patient/")))
            if not subjects:
                raise told(404, "not-found", "this clinic knows no such patient")
            versions = _versions(seen, subjects[0], since)
            start = _behind(versions, at.last) if at else 0
            page, more = versions[start : start + count], versions[start + count :]
            problems = [*unknown(call, "_since", "_count", "patient"), *seen.problems({subjects[0]})]
            entries = _history(call, seen, page, problems)
        onward = None
        if more:
            place = page[-1].place
            onward = Page("patient", "", [*_kept(call, at)], [page[-1].recorded.isoformat(), place.source, place.seq])
        links = links_of(self._reader, call, "_history", onward, _kept(call, at))
        return Answer(body=bundles.bundle("history", entries, links, len(versions)))

    def of_type(self, call: Call) -> Answer:
        """The versions of all resources of a type: those that changed last first, each with its versions together."""
        kind = call.path["type"]
        count, since, at = paging(self._reader, call, "type")
        condition = Condition()
        condition.add("resource_type = {}", kind)
        condition.add("source = 'directory'" if kind in DIRECTORY else f"subject = ANY(ARRAY{ROSTER})")
        if since is not None:
            condition.add("recorded >= {}", since)
        after = [datetime.fromisoformat(at.last[0]), at.last[1]] if at else []
        with self._reader.seen(call) as seen:
            found = seen.view.find(condition, Sort("updated", down=True), after, count + 1)
            page, more = found[:count], found[count:]
            known = seen.view.by_ids([row.id for row, _ in page])
            chosen = {row.id: known[row.id] for row, _ in page if known[row.id][-1][0].source == row.source}
            versions = [v for rows in chosen.values() for v in _all_of(rows)]
            problems = [*unknown(call, "_since", "_count"), *seen.problems({row.subject for row, _ in page})]
            entries = _history(call, seen, versions, problems, since)
        last = page[-1] if more else None
        onward = Page("type", kind, [*_kept(call, at)], [last[1].isoformat(), str(last[0].id)]) if last else None
        links = links_of(self._reader, call, f"{kind}/_history", onward, _kept(call, at))
        return Answer(body=bundles.bundle("history", entries, links, None))


class _Parameter(msgspec.Struct):
    name: str = ""
    valueInteger: int | None = None
    valueCode: str | None = None
    valueString: str | None = None
    valueInstant: str | None = None
    valueDateTime: str | None = None


class _Parameters(msgspec.Struct):
    parameter: list[_Parameter] = []


def _given(body: bytes) -> list[tuple[str, str]]:
    """What a Parameters resource says; the types of a repeated ``_type`` together."""
    if not body:
        return []
    try:
        given = msgspec.json.decode(body, type=_Parameters).parameter
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise told(400, "structure", "the body is a Parameters resource, or empty") from None
    values: dict[str, list[str]] = {}
    for one in given:
        said = (one.valueInteger, one.valueCode, one.valueString, one.valueInstant, one.valueDateTime)
        values.setdefault(one.name, []).append(next((str(value) for value in said if value is not None), ""))
    return [(name, ",".join(some)) for name, some in values.items()]


def _types(text: str) -> tuple[str, ...]:
    types = tuple(filter(None, text.split(",")))
    if not all(map(is_resource_type, types)):
        raise told(400, "value", "_type lists types of FHIR R4")
    return types


def _kept(call: Call, at: Page | None) -> Sequence[tuple[str, str]]:
    return at.given if at else [pair for pair in call.query if pair[0] in ("_count", "_since", "patient")]


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


def _all_of(rows: Rows) -> list[Version]:
    """The versions of a resource, the newest first."""
    newest = rows[-1][0]
    found = (version_of(rows, number) for number in range(newest.before + newest.version, 0, -1))
    return [one for one in found if one]


def _versions(seen: Seen, subject: UUID, since: datetime | None) -> list[Version]:
    """All versions of a patient's resources that the caller may read, the newest first."""
    by_id: dict[UUID, list[tuple[Row, tuple[int, ...]]]] = {}
    for row, seqs in sorted(seen.view.of_subject(subject), key=lambda one: (one[0].recorded, one[0].source)):
        if seen.call.caller.may(row.resource_type, "r"):
            rows = by_id.setdefault(row.id, [])
            before = rows[-1][0].before + rows[-1][0].version if rows else 0
            rows.append((row._replace(before=before), seqs))
    when = seen.view.recorded(subject)
    versions = [
        one._replace(recorded=when[one.place]) for rows in by_id.values() for one in _all_of(rows) if one.place in when
    ]
    versions.sort(key=lambda one: (one.recorded, one.place.source, one.place.seq), reverse=True)
    return [one for one in versions if since is None or one.recorded >= since]


def _behind(versions: Sequence[Version], last: Sequence[object]) -> int:
    """How many of these come before or are the one that was shown last."""
    place = (datetime.fromisoformat(str(last[0])), last[1], last[2])
    return sum((one.recorded, one.place.source, one.place.seq) >= place for one in versions)


def _history(
    call: Call, seen: Seen, versions: Sequence[Version], problems: list[Problem], since: datetime | None = None
) -> list[bytes]:
    """The entries of a history, and one that says what is wrong with it."""
    kept = seen.view.kept([one.place for one in versions], indented=False)
    entries = []
    for one in versions:
        there = kept.get(one.place)
        if there is None or there.raw is None:
            if UNREADABLE not in problems:
                problems.append(UNREADABLE)
            continue
        if since is None or there.recorded >= since:
            newest = one.number == one.row.before + one.row.version
            entries.append(version_entry(call, one, there, newest=newest))
    if problems:
        entries.append(bundles.told(problems))
    return entries
