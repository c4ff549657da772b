"""The oncology ward."""

from __future__ import annotations

from projections.clinic_oncology_ward import Stay, projection
from schemas.common import Coding
from schemas.inpatient_oncology import (
    BedAssigned,
    PatientDischarged,
    StayEnteredInError,
    StayRevised,
    TransferCancelled,
    WardMoved,
)
from tests.unit.projections.history import (
    GP,
    ONCO,
    OTHER,
    Happened,
    admission,
    at,
    happened,
    id_,
    row,
    rows,
    stage_finished,
    stage_started,
    stay,
    transfer,
)


def ward(*events: Happened) -> Stay:
    found: Stay = row(projection, *events)
    return found


def test_a_requested_transfer_is_expected() -> None:
    found = ward(happened(transfer()))
    assert (found.clinic_id, found.status, found.requested_at) == (ONCO, "requested", at(0))
    assert (found.from_clinic, found.condition_id, found.referral_id) == (GP, id_(1), id_(11))


def test_a_patient_goes_from_bed_to_ward_to_home() -> None:
    bed = happened(BedAssigned(**stay(), location_id="bed-7"), 1)
    assert (ward(happened(transfer()), bed).status, ward(happened(transfer()), bed).location_id) == (
        "bed assigned",
        "bed-7",
    )
    moved = happened(WardMoved(**stay(), from_location_id="ward-2", location_id="ward-3"), 3)
    found = ward(happened(transfer()), bed, happened(admission(), 2), moved)
    assert (found.status, found.location_id, found.admitted_at) == ("in", "ward-3", at(2))
    home = happened(PatientDischarged(**stay(), disposition=Coding()), 90)
    found = ward(happened(transfer()), bed, happened(admission(), 2), moved, home)
    assert (found.status, found.discharged_at) == ("discharged", at(90))


def test_the_stage_is_the_one_that_began_last_and_is_not_over() -> None:
    events = [happened(transfer()), happened(admission(), 1), happened(stage_started(), 2)]
    assert (ward(*events).stage, ward(*events).stage_since) == ("surgery", at(2))
    events.append(happened(stage_started("chemotherapy", 32), 3))
    assert ward(*events).stage == "chemotherapy"
    events.append(happened(stage_finished("chemotherapy", 32), 4))
    assert ward(*events).stage == "surgery"
    events.append(happened(stage_finished(), 5))
    assert (ward(*events).stage, ward(*events).stage_since) == ("", None)
    assert ward(*events).stages[id_(31)] == {
        "kind": "surgery",
        "code": "",
        "started": at(2).isoformat(),
        "finished": at(5).isoformat(),
        "outcome": "completed",
    }


def test_nobody_is_treated_after_discharge() -> None:
    home = happened(PatientDischarged(**stay(), disposition=Coding()), 3)
    late = ward(happened(transfer()), happened(admission(), 1), home, happened(stage_started(), 2))
    assert (late.status, late.stage, list(late.stages)) == ("discharged", "", [id_(31)])


def test_a_readdressed_request_is_expected_at_the_other_clinic_only() -> None:
    moved = StayRevised(**stay(clinic=OTHER), previous_clinic_id=ONCO, resource=b"{}")
    assert [found.clinic_id for found in rows(projection, happened(transfer()), happened(moved, 1))] == [OTHER]


def test_a_cancelled_transfer_says_so_and_a_mistake_goes() -> None:
    found = ward(happened(transfer()), happened(TransferCancelled(**stay()), 4))
    assert (found.status, found.cancelled_at) == ("cancelled", at(4))
    assert rows(projection, happened(transfer()), happened(StayEnteredInError(**stay()))) == []
