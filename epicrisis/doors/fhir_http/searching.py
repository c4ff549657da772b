"""Searching: by type, within a patient's compartment, by GET and by POST."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from epicrisis.doors.fhir_http import bundles, origins
from epicrisis.doors.fhir_http.answers import Answer, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.chart import (
    DIRECTORY,
    Condition,
    Kept,
    Place,
    Row,
    Version,
    View,
    dated,
    having,
    named,
    updated,
)
from epicrisis.doors.fhir_http.pages import Page
from epicrisis.doors.fhir_http.query import Identified, Named, Search, is_uuid, search_of
from epicrisis.doors.fhir_http.reading import PAGE, STRICT, UNREADABLE, Reader, Seen, links_of
from epicrisis.fhir.outcome import Problem
from epicrisis.fhir.provenance import PROVENANCE
from epicrisis.fhir.search import patient_parameters, token
from epicrisis.fhir.searched import references_of

ROSTER = "(SELECT subject FROM read.roster WHERE clinic_id = current_setting('epicrisis.clinic', true))"


class Searches:
    """The interactions that search."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def interactions(self) -> list[Interaction]:
        return [
            Interaction(method="GET", path="/{type}", letter="s", handler=self.by_address),
            Interaction(method="POST", path="/{type}/_search", letter="s", body="form", handler=self.by_form),
            Interaction(method="GET", path="/Patient/{id}/{type}", letter="s", handler=self.of_patient),
        ]

    def by_address(self, call: Call) -> Answer:
        """What is searched for stands in the address."""
        return self._search(call, call.query)

    def by_form(self, call: Call) -> Answer:
        """What is searched for stands in the body, as names of people should."""
        try:
            form = parse_qsl(call.body.decode(), keep_blank_values=True, max_num_fields=1000)
        except (UnicodeDecodeError, ValueError):
            raise told(400, "structure", "the form cannot be read: send it as UTF-8") from None
        return self._search(call, [*call.query, *form])

    def of_patient(self, call: Call) -> Answer:
        """The resources of one type in a patient's compartment."""
        names = patient_parameters(call.path["type"])
        if not names:
            raise told(404, "not-supported", "resources of this type are not in a patient's compartment")
        return self._search(call, [*call.query, (names[0], f"Patient/{call.path['id']}")])

    def _search(self, call: Call, given: Sequence[tuple[str, str]]) -> Answer:
        kind, last = call.path["type"], list[Any]()
        if sealed := next((value for name, value in given if name == PAGE), None):
            page = self._reader.pages.open(sealed, call.caller.clinic)
            if (page.kind, page.resource_type) != ("search", kind):
                raise told(400, "value", "this page is not known: begin the search anew")
            given, last = page.given, page.last
        if any("\0" in text for pair in given for text in pair):
            raise told(400, "value", "a NUL is no text")
        search = search_of(kind, given, strict=STRICT(call.headers.get("prefer", "")) is not None)
        after = [datetime.fromisoformat(last[0]) if search.sort.by != "id" else last[0], last[1]] if last else []
        with self._reader.seen(call) as seen:
            condition, subjects = self._condition(seen, search)
            total = None
            if condition is None:
                found: list[tuple[Row, Any]] = []
                total = 0
            else:
                if search.only_total or search.total:
                    total = seen.view.count(self._condition(seen, search)[0] or Condition())
                found = [] if search.only_total else seen.view.find(condition, search.sort, after, search.count + 1)
            more, page_rows = found[search.count :], found[: search.count]
            rows = seen.view.newest([row for row, _ in page_rows])
            kept = kept_of(seen.view, rows)
            problems = [*search.problems, *seen.problems(subjects or {row.subject for row in rows})]
            entries, bodies = matches(call, rows, kept, problems)
            entries += self._included(seen, search, bodies)
            if search.provenance:
                found_now = [Version(row, row.before + row.version, row.place, row.recorded) for row, _ in bodies]
                entries += origins.entries(seen, found_now, mode="include")
            made = origins.of_targets(self._reader, seen, given) if kind == PROVENANCE and not last else []
        if problems:
            entries.append(bundles.told(problems))
        page_after = None
        if more and page_rows:
            row, key = page_rows[-1]
            said = key.isoformat() if isinstance(key, datetime) else str(key)
            page_after = Page("search", kind, list(given), [said, str(row.id)])
        elif total is None and not last:
            total = len(rows)
        if made:
            total = None if total is None else total + len(made)
            entries = entries if search.only_total else made[: search.count] + entries
        links = links_of(self._reader, call, kind, page_after, search.used)
        return Answer(body=bundles.bundle("searchset", entries, links, total))

    def _condition(self, seen: Seen, search: Search) -> tuple[Condition | None, set[UUID]]:
        """What the rows must be like; None where there can be none. And the patients that were named and are seen."""
        kind, operator = search.resource_type, seen.call.caller.operator
        condition = Condition()
        condition.add("resource_type = {}", kind)
        condition.add("NOT retracted")
        condition.narrow = bool(search.patients or search.ids or search.identifiers or search.words)
        subjects: set[UUID] | None = None
        for wanted in search.patients:
            these = {subject for one in wanted for subject in self._patients(seen, one)}
            seen.call.accessed.named(these)
            subjects = these if subjects is None else subjects & these
        if subjects is not None:
            if not subjects:
                return None, set()
            condition.add("subject = ANY({})", list(subjects))
        for alternatives in search.ids:
            ids = {id_ for one in alternatives for id_ in self._ids(seen, one)}
            if not ids:
                return None, subjects or set()
            condition.add("resource_id = ANY({})", list(ids))
        for identified in search.identifiers:
            recorded = self._reader.names.having(operator, kind, identified)
            if not recorded:
                return None, subjects or set()
            having(condition, recorded)
        if subjects is None and not search.ids and not search.identifiers:
            condition.add("source = 'directory'" if kind in DIRECTORY else f"subject = ANY(ARRAY{ROSTER})")
        for tokens in search.tokens:
            condition.add("tokens && {}::bigint[]", list(tokens))
        for reference in search.references:
            leads = {id_ for one in reference.wanted for id_ in self._reader.names.ids(operator, one)}
            said = {one.id for one in reference.wanted if not is_uuid(one.id)}
            digests = [token(reference.parameter, "", id_) for id_ in (*map(str, leads), *said)]
            condition.add("tokens && {}::bigint[]", digests)
        for whens in search.dates:
            dated(condition, whens)
        for whens in search.updated:
            updated(condition, whens)
        for words in search.words:
            named(condition, words)
        return condition, subjects or set()

    def _patients(self, seen: Seen, one: Named | Identified) -> list[UUID]:
        """The subjects that a patient's name may mean, and that the clinic sees."""
        if isinstance(one, Named) and one.types != ("Patient",):
            return []
        return patients(self._reader, seen, one)

    def _ids(self, seen: Seen, one: Named | Identified) -> list[UUID]:
        return self._reader.names.ids(seen.call.caller.operator, one)

    def _included(self, seen: Seen, search: Search, bodies: Sequence[tuple[Row, bytes]]) -> list[bytes]:
        """The resources that the matches refer to under the parameters asked for, as far as the clinic sees them."""
        wanted: dict[UUID, None] = {}
        here = {row.id for row, _ in bodies}
        for name in search.includes:
            for row, raw in bodies:
                if name in patient_parameters(row.resource_type):
                    wanted[row.subject] = None
                else:
                    for id_ in references_of(row.resource_type, name, raw):
                        if is_uuid(id_):
                            wanted[UUID(id_)] = None
        return others(seen, [id_ for id_ in wanted if id_ not in here])


def patients(reader: Reader, seen: Seen, one: Named | Identified) -> list[UUID]:
    """The subjects in the clinic's roster that a client may mean: by the cluster's id, by its own, by an identifier."""
    operator = seen.call.caller.operator
    for journals in (False, True):
        if seen_here := [id_ for id_ in reader.names.ids(operator, one, journals=journals) if seen.view.sees(id_)]:
            return seen_here
    return []


def matches(
    call: Call, rows: Sequence[Row], kept: dict[Place, Kept], problems: list[Problem], mode: str = "match"
) -> tuple[list[bytes], list[tuple[Row, bytes]]]:
    """The entries of these resources, and their bytes; what cannot be shown is named among the problems."""
    entries, bodies = [], []
    for row in rows:
        there = kept.get(row.place)
        if there is None or not there.raw:
            if UNREADABLE not in problems:
                problems.append(UNREADABLE)
            continue
        id_ = str(row.id)
        resource = bundles.shown(there.raw, id_, row.before + row.version, row.recorded)
        entries.append(bundles.match(call.base, row.resource_type, id_, resource, mode))
        bodies.append((row, there.raw))
    return entries, bodies


def others(seen: Seen, ids: Sequence[UUID], types: Sequence[str] = ()) -> list[bytes]:
    """Entries of further resources (of these types), as far as the clinic sees them and the client may read them."""
    rows = [known[-1][0] for known in seen.view.by_ids(ids).values()]
    may = seen.call.caller.may
    rows = [row for row in rows if not row.retracted and may(row.resource_type, "r")]
    rows = [row for row in rows if not types or row.resource_type in types]
    return matches(seen.call, rows, kept_of(seen.view, rows), [], "include")[0]


def kept_of(view: View, rows: Sequence[Row]) -> dict[Place, Kept]:
    """What these rows' newest versions say, for a Bundle: without their own indentation."""
    return view.kept([row.place for row in rows], indented=False)
