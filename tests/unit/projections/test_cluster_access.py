"""The access log: who was given what, and the worklist of broken glasses."""

from __future__ import annotations

from projections.cluster_access import BreakGlass, projection
from schemas.access_audit import BreakGlassEnded, BreakGlassReviewed
from tests.unit.projections.history import BROKEN, OTHER, SUBJECT, accessed, at, happened, id_, row, rows

TABLE = "cluster_access_break_glass"


def test_an_access_says_who_what_when_and_which_events_left() -> None:
    found = row(projection, happened(accessed("$everything"), 2, clinic=OTHER))
    assert (found.subject, found.recorded, found.clinic, found.interaction) == (SUBJECT, at(2), OTHER, "$everything")
    assert found.delivered == {"chart": "1-3"}
    assert rows(projection, happened(accessed()), table=TABLE) == []


def test_a_broken_glass_counts_what_was_read_under_it_until_it_is_reviewed() -> None:
    ended = BreakGlassEnded(break_glass_id=id_(71), by="ada", over=False, resource=b"{}")
    reviewed = BreakGlassReviewed(break_glass_id=id_(71), by="ben", justified=False, note="why?", resource=b"{}")
    found: BreakGlass = row(
        projection,
        happened(BROKEN, 0, clinic=OTHER),
        happened(accessed(glass=id_(71)), 1),
        happened(accessed(glass=id_(71)), 2),
        happened(accessed(), 2),
        happened(ended, 3),
        happened(reviewed, 4),
        table=TABLE,
    )
    assert (found.started, found.until, found.ended, found.reviewed) == (at(0), at(4), at(3), at(4))
    assert (found.clinic, found.client, found.user_id, found.accesses) == (OTHER, "his", "ada", 2)
    assert (found.reviewed_by, found.justified, found.note) == ("ben", False, "why?")
