"""Histories: of a resource, of a type, of a patient; what was current at some time, and where each version comes from.

https://hl7.org/fhir/R4/http.html#history
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from epicrisis.doors.fhir_http import bundles, origins
from epicrisis.doors.fhir_http.answers import Answer, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.chart import DIRECTORY, Condition, Kept, Place, Rows, Version, by_resource
from epicrisis.doors.fhir_http.origins import REVINCLUDE, asks_for_them
from epicrisis.doors.fhir_http.pages import Page
from epicrisis.doors.fhir_http.past import AT, period_of
from epicrisis.doors.fhir_http.query import Named, Sort, count_of
from epicrisis.doors.fhir_http.reading import (
    PAGE,
    UNREADABLE,
    Reader,
    Seen,
    all_of,
    is_gone,
    links_of,
    since_of,
    unknown,
    warned,
)
from epicrisis.doors.fhir_http.searching import ROSTER, patients
from epicrisis.fhir.outcome import Problem
from epicrisis.versions import current

ASKED = ("_count", "_since", AT, REVINCLUDE)
"""The parameters of every history."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a history is wanted. ``during``: only versions that were current at some moment from this to that one."""

    count: int
    since: datetime | None
    during: tuple[datetime, datetime] | None
    provenance: bool
    page: Page | None
    given: list[tuple[str, str]]
    """The parameters, as a page or the call gives them."""

    def of(self, rows: Rows, seen: Seen) -> list[Version]:
        """The wanted versions of one resource, the newest first; with their own moments where those decide."""
        if self.since is None and self.during is None:
            return all_of(rows)
        return self.dated(rows, seen.view.recorded(rows[-1][0].subject))

    def dated(self, rows: Rows, when: Mapping[Place, datetime]) -> list[Version]:
        """The same with their own moments; without those that the ledger has not come to."""
        versions = [one._replace(recorded=when[one.place]) for one in all_of(rows) if one.place in when]
        if self.during is None:
            return [one for one in versions if self.since is None or one.recorded >= self.since]
        were = current([one.recorded for one in reversed(versions)], *self.during)
        return [
            one
            for one, was in zip(versions, reversed(were), strict=True)
            if was and (self.since is None or one.recorded >= self.since)
        ]


class Histories:
    """The interactions that show versions."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def interactions(self) -> list[Interaction]:
        return [
            Interaction(method="GET", path="/{type}/{id}/_history", letter="r", handler=self.of_resource),
            Interaction(method="GET", path="/Patient/{id}/_history", handler=self.of_patient_resource),
            Interaction(method="GET", path="/{type}/_history", letter="s", handler=self.of_type),
            Interaction(method="GET", path="/_history", handler=self.of_patient),
        ]

    def of_patient_resource(self, call: Call) -> Answer:
        """A Patient's own: its address looks like that of a compartment."""
        if not call.caller.may("Patient", "r"):
            raise told(403, "forbidden", "the access token does not allow this client to read Patient")
        return self._of_resource(call, "Patient")

    def of_resource(self, call: Call) -> Answer:
        """All versions of a resource, the newest first."""
        return self._of_resource(call, call.path["type"])

    def _of_resource(self, call: Call, resource_type: str) -> Answer:
        asked = self._asked(call, "instance")
        with self._reader.seen(call) as seen:
            rows = self._reader.find(seen, resource_type, call.path["id"])
            versions = asked.of(rows, seen)
            left = [one for one in versions if asked.page is None or one.number < asked.page.last[0]]
            shown, more = left[: asked.count], left[asked.count :]
            problems = [*unknown(call, *ASKED), *seen.problems({rows[-1][0].subject})]
            entries = _entries(call, seen, shown, problems, asked)
        onward = Page("instance", resource_type, asked.given, [shown[-1].number]) if more else None
        links = links_of(self._reader, call, f"{resource_type}/{call.path['id']}/_history", onward, asked.given)
        return warned(Answer(body=bundles.bundle("history", entries, links, len(versions))), problems)

    def of_patient(self, call: Call) -> Answer:
        """All versions of all resources of one patient, the newest first."""
        asked = self._asked(call, "patient", "patient")
        named = dict(asked.given).get("patient", "")
        if not named:
            raise told(400, "required", "name a patient: /_history?patient=<id>, or a type: /<type>/_history")
        with self._reader.seen(call) as seen:
            subjects = patients(self._reader, seen, Named(("Patient",), named.removeprefix("Patient/")))
            if not subjects:
                raise told(404, "not-found", "this clinic knows no such patient")
            call.accessed.named(subjects[:1])
            versions = _versions(seen, subjects[0], asked)
            start = _behind(versions, asked.page.last) if asked.page else 0
            shown, more = versions[start : start + asked.count], versions[start + asked.count :]
            problems = [*unknown(call, *ASKED, "patient"), *seen.problems({subjects[0]})]
            entries = _entries(call, seen, shown, problems, asked)
        onward = None
        if more:
            place = shown[-1].place
            onward = Page("patient", "", asked.given, [shown[-1].recorded.isoformat(), place.source, place.seq])
        links = links_of(self._reader, call, "_history", onward, asked.given)
        return warned(Answer(body=bundles.bundle("history", entries, links, len(versions))), problems)

    def of_type(self, call: Call) -> Answer:
        """The versions of all resources of a type: those that changed last first, each with its versions together."""
        kind = call.path["type"]
        asked = self._asked(call, "type")
        condition = Condition()
        condition.add("resource_type = {}", kind)
        condition.add("source = 'directory'" if kind in DIRECTORY else f"subject = ANY(ARRAY{ROSTER})")
        if asked.since is not None:
            condition.add("recorded >= {}", asked.since)
        after = [datetime.fromisoformat(asked.page.last[0]), asked.page.last[1]] if asked.page else []
        with self._reader.seen(call) as seen:
            found = seen.view.find(condition, Sort("updated", down=True), after, asked.count + 1)
            page, more = found[: asked.count], found[asked.count :]
            known = seen.view.by_ids([row.id for row, _ in page])
            chosen = {row.id: known[row.id] for row, _ in page if known[row.id][-1][0].source == row.source}
            versions = [one for rows in chosen.values() for one in asked.of(rows, seen)]
            problems = [*unknown(call, *ASKED), *seen.problems({row.subject for row, _ in page})]
            entries = _entries(call, seen, versions, problems, asked)
        last = page[-1] if more else None
        onward = Page("type", kind, asked.given, [last[1].isoformat(), str(last[0].id)]) if last else None
        links = links_of(self._reader, call, f"{kind}/_history", onward, asked.given)
        return warned(Answer(body=bundles.bundle("history", entries, links, None)), problems)

    def _asked(self, call: Call, kind: str, *more: str) -> Asked:
        given, page = [pair for pair in call.query if pair[0] in (*ASKED, *more)], None
        if sealed := dict(call.query).get(PAGE):
            page = self._reader.pages.open(sealed, call.caller.clinic)
            if page.kind != kind:
                raise told(400, "value", "this page is not known: begin anew")
            given = page.given
        named = dict(given)
        return Asked(
            count=max(1, count_of(named["_count"])) if named.get("_count") else 50,
            since=since_of(named.get("_since", "")),
            during=period_of(AT, named[AT]) if named.get(AT) else None,
            provenance=asks_for_them(named),
            page=page,
            given=given,
        )


def _versions(seen: Seen, subject: UUID, asked: Asked) -> list[Version]:
    """The wanted versions of a patient's resources that the caller may read, the newest first."""
    known = sorted(seen.view.of_subject(subject), key=lambda one: (one[0].recorded, one[0].source))
    readable = by_resource(one for one in known if seen.call.caller.may(one[0].resource_type, "r"))
    when = seen.view.recorded(subject)
    versions = [one for rows in readable.values() for one in asked.dated(rows, when)]
    versions.sort(key=lambda one: (one.recorded, one.place.source, one.place.seq), reverse=True)
    return versions


def _behind(versions: Sequence[Version], last: Sequence[object]) -> int:
    """How many of these come before or are the one that was shown last."""
    place = (datetime.fromisoformat(str(last[0])), last[1], last[2])
    return sum((one.recorded, one.place.source, one.place.seq) >= place for one in versions)


def _entries(call: Call, seen: Seen, versions: Sequence[Version], problems: list[Problem], asked: Asked) -> list[bytes]:
    """The entries of a history, and their Provenance if it is wanted; what is left out is named among the problems.

    A history has no entry to say so in (bdl-2 of https://hl7.org/fhir/R4/bundle.html#invs): its header does.
    """
    kept = seen.view.kept([one.place for one in versions], indented=False)
    entries, shown = [], []
    for one in versions:
        there = kept.get(one.place)
        if there is None or there.raw is None:
            if UNREADABLE not in problems:
                problems.append(UNREADABLE)
            continue
        gone = is_gone(one.row, there.raw, newest=one.number == one.row.before + one.row.version)
        entries.append(_entry(call, one, there, gone=gone))
        shown.append(one)
    if asked.provenance:
        entries += origins.entries(seen, shown)
    return entries


def _entry(call: Call, one: Version, there: Kept, *, gone: bool) -> bytes:
    id_ = str(one.row.id)
    resource = None if gone else bundles.shown(there.raw or b"", id_, one.number, there.recorded)
    return bundles.version(call.base, one.row.resource_type, id_, one.number, there.recorded, resource)
