"""Chart: given a history, when a command comes, then."""

from __future__ import annotations

from epicrisis.event import replace
from epicrisis.testing import given
from schemas.chart import ResourceAmended, ResourceRecorded, ResourceRetracted
from schemas.common import Coding
from services.chart import service
from services.chart.decider import RecordResource, RetractResource

HEIGHT = Coding(system="http://loinc.org", code="8302-2", display="Body height")
RECORD = RecordResource(
    resource_type="Observation",
    resource_id="o1",
    status="final",
    category=Coding(),
    code=HEIGHT,
    date="2026-01-05",
    encounter_id="e1",
    resource=b"v1",
)
RECORDED = ResourceRecorded(
    resource_type="Observation",
    resource_id="o1",
    status="final",
    category=Coding(),
    code=HEIGHT,
    date="2026-01-05",
    encounter_id="e1",
    resource=b"v1",
)
AMENDED = ResourceAmended(
    resource_type="Observation",
    resource_id="o1",
    resource_version=2,
    status="amended",
    category=Coding(),
    code=HEIGHT,
    date="2026-01-05",
    encounter_id="e1",
    resource=b"v2",
)
RETRACT = RetractResource(resource_type="Observation", resource_id="o1", resource=b"")
RETRACTED = ResourceRetracted(resource_type="Observation", resource_id="o1", resource_version=2, resource=b"")


def test_a_resource_is_recorded() -> None:
    given(service).when(RECORD).then(RECORDED)


def test_the_same_bytes_again_change_nothing() -> None:
    given(service, RECORDED).when(RECORD).then_nothing()


def test_other_bytes_amend_and_count_up() -> None:
    second = replace(RECORD, status="amended", resource=b"v2")
    given(service, RECORDED).when(second).then(AMENDED)
    given(service, RECORDED, AMENDED).when(replace(second, resource=b"v3")).then(
        replace(AMENDED, resource_version=3, resource=b"v3")
    )


def test_a_resource_is_retracted_once() -> None:
    given(service, RECORDED).when(RETRACT, RETRACT).then(RETRACTED)


def test_the_version_that_says_so_is_kept() -> None:
    given(service, RECORDED).when(replace(RETRACT, resource=b"error")).then(replace(RETRACTED, resource=b"error"))


def test_a_resource_that_arrives_in_error_is_kept_as_retracted() -> None:
    given(service).when(replace(RETRACT, resource=b"error")).then(
        replace(RETRACTED, resource_version=1, resource=b"error")
    )


def test_deleting_what_nobody_knows_is_nothing() -> None:
    given(service).when(RETRACT).then_nothing()


def test_nothing_happens_to_a_retracted_resource() -> None:
    given(service, RECORDED, RETRACTED).when(RECORD).then_refused("entered in error")
