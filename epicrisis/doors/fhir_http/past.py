"""The charts as they were: a view of what had been recorded, and was true, by a moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from epicrisis.doors.fhir_http.answers import told
from epicrisis.doors.fhir_http.chart import Place, Row, Rows, View, by_resource
from epicrisis.fhir.provenance import Origin
from epicrisis.fhir.search import interval
from epicrisis.found import projection
from epicrisis.ledger import Entry
from epicrisis.replay import ALL, When, facts
from epicrisis.slices import slice_of
from epicrisis.sql import array, queries
from epicrisis.versions import CHART, origin_of, rows_of

_SQL = queries("epicrisis.doors.fhir_http")

_TICK = timedelta(microseconds=1)
AT, AS_OF = "_at", "_asOf"
"""As far as it had been recorded by then, and as far as it was true by then: `When.known_at` and `When.as_of`."""


class Past(View):
    """What a clinic may see today, as it was: the rows are folded from the ledger, by the function that made the chart.

    Bytes come from the ledger anyway, as in `View`.
    """

    def __init__(self, view: View, when: When = ALL) -> None:
        super().__init__(view._cur, view._codec, view._keys, view._accessed)
        self._when = when

    def of_subject(self, subject: UUID) -> Rows:
        return self._folded([subject])

    def by_ids(self, ids: Collection[UUID]) -> dict[UUID, Rows]:
        known = super().by_ids(ids)
        subjects = {row.subject for rows in known.values() for row, _ in rows}
        return by_resource(one for one in self._folded(subjects) if one[0].id in known)

    def _folded(self, subjects: Collection[UUID]) -> Rows:
        chart = projection(CHART)
        found = []
        for entries in self._histories(subjects).values():
            for r in rows_of(facts(entries, self._codec, self._keys, self._when, chart)):
                row = Row(
                    r.resource_id, r.subject, r.source, r.resource_type, r.version, r.recorded, r.retracted, r.seqs[-1]
                )
                found.append((row, r.seqs))
        return found

    def _histories(self, subjects: Collection[UUID]) -> dict[UUID, list[Entry]]:
        found: defaultdict[UUID, list[Entry]] = defaultdict(list)
        if subjects:
            slices = {slice_of(subject) for subject in subjects}
            self._cur.execute(_SQL["histories"], {"slices": array(slices), "subjects": array(subjects)})
            for subject, n, source, seq, recorded, value in self._cur:
                found[subject].append(Entry(n, source, seq, recorded, b"", value))
        return found

    def origins(self, places: Collection[Place]) -> dict[Place, Origin]:
        """Where the events at these places come from: it is in their envelopes, so it is known of an erased one too."""
        if not places:
            return {}
        return {place: origin_of(self._codec.open(value).meta, n) for place, n, _, value in self._events(set(places))}

    def place_of(self, subject: UUID, n: int) -> Place | None:
        """Where a subject's event of this number lies; None where there is none, or the clinic may not see it."""
        self._cur.execute(_SQL["origin"], {"slice": slice_of(subject), "subject": subject, "n": n})
        row = self._cur.fetchone()
        return Place(subject, *row) if row else None


def when_of(known_at: str, as_of: str) -> When | None:
    """The moments that a call names; None where it names none.

    Raises
    ------
    Told
        400: one of them is not a moment.
    """
    if not known_at and not as_of:
        return None
    return When(known_at=_moment(AT, known_at), as_of=_moment(AS_OF, as_of))


def _moment(name: str, text: str) -> datetime | None:
    if not text:
        return None
    if "T" not in text:
        raise told(400, "value", f"{name} is a moment: write 2026-03-01T12:00:00Z")
    return period_of(name, text)[1] - _TICK  # instants are written to the millisecond: what was then is meant


def period_of(name: str, text: str) -> tuple[datetime, datetime]:
    """The moments that a FHIR date or dateTime covers, the end excluded.

    Raises
    ------
    Told
        400: it is none.
    """
    try:
        return interval(text.replace(" ", "+"))
    except (ValueError, OverflowError, IndexError):
        raise told(400, "value", f"{name} is a date or a moment: write 2026-03-01 or 2026-03-01T12:00:00Z") from None
