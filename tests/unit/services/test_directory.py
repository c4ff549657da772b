"""Directory: given a history, when a command comes, then."""

from __future__ import annotations

from epicrisis.event import replace
from epicrisis.testing import given
from schemas.common import Coding
from schemas.directory import EntryAmended, EntryRecorded, EntryRetracted
from services.directory import service
from services.directory.decider import RecordEntry, RetractEntry

ONCOLOGY = Coding(system="http://snomed.info/sct", code="394593009")
RECORD = RecordEntry(
    resource_type="PractitionerRole",
    resource_id="x1",
    name="Dr. Weber",
    active=True,
    specialties=(ONCOLOGY,),
    languages=(),
    practitioner_id="p1",
    organization_id="o1",
    resource=b"v1",
)
RECORDED = EntryRecorded(
    resource_type="PractitionerRole",
    resource_id="x1",
    name="Dr. Weber",
    active=True,
    specialties=(ONCOLOGY,),
    languages=(),
    practitioner_id="p1",
    organization_id="o1",
    resource=b"v1",
)
AMENDED = EntryAmended(
    resource_type="PractitionerRole",
    resource_id="x1",
    resource_version=2,
    name="Dr. Weber",
    active=False,
    specialties=(ONCOLOGY,),
    languages=(),
    practitioner_id="p1",
    organization_id="o1",
    resource=b"v2",
)
RETRACTED = EntryRetracted(resource_type="PractitionerRole", resource_id="x1", resource_version=2)


def test_an_entry_is_recorded_and_amended() -> None:
    given(service).when(RECORD, RECORD, replace(RECORD, active=False, resource=b"v2")).then(RECORDED, AMENDED)


def test_an_entry_is_retracted_once() -> None:
    given(service, RECORDED).when(RetractEntry(), RetractEntry()).then(RETRACTED)


def test_a_retracted_entry_cannot_be_changed() -> None:
    given(service, RECORDED, RETRACTED).when(replace(RECORD, resource=b"v2")).then_refused("entered in error")


def test_deleting_what_nobody_knows_is_nothing() -> None:
    given(service).when(RetractEntry()).then_nothing()
