"""The counters."""

from __future__ import annotations

from datetime import date

from projections.cluster_activity import Activity, projection
from tests.unit.projections.history import GP, ONCO, diagnosis, happened, observation, rows


def test_events_are_counted_by_clinic_type_and_month_of_effect() -> None:
    month = 24 * 2  # the story starts on 30 March
    found = rows(
        projection,
        happened(observation(1)),
        happened(observation(2), 1),
        happened(observation(3), month, recorded=0),
        happened(observation(4), clinic=ONCO),
    )

    def count(clinic: str, when: date, events: int) -> Activity:
        operator = clinic.partition("/")[0]
        type_ = "chart.ResourceRecorded"
        return Activity(
            operator=operator, clinic=clinic, month=when, event_type=type_, diagnosis_group="", events=events
        )

    march, april = date(2026, 3, 1), date(2026, 4, 1)
    expected = [count(GP, march, 2), count(GP, april, 1), count(ONCO, march, 1)]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_a_diagnosis_counts_once_with_its_group() -> None:
    found = rows(projection, happened(diagnosis(1)), happened(diagnosis(2, group="other")), happened(diagnosis(3)))
    assert {row.diagnosis_group: row.events for row in found} == {"oncology": 2, "other": 1}
