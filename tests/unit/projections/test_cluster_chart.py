"""The chart."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from epicrisis.event import replace
from epicrisis.fhir.search import ANY, token
from projections.cluster_chart import Resource, projection
from schemas.common import Coding
from schemas.diagnosis import DiagnosisEnteredInError, DiagnosisRefuted, DiagnosisResolved
from schemas.directory import EntryRecorded, EntryRetracted
from schemas.inpatient_oncology import EpisodeRecorded, PatientDischarged, StayRevised
from schemas.referral import ReferralCancelled, ReferralEnteredInError
from schemas.registration import PatientDeathRecorded, PatientDetailsChanged, PatientEnteredInError
from tests.unit.projections.history import (
    BREAST,
    GP,
    ONCO,
    SUBJECT,
    Happened,
    admission,
    amended,
    at,
    between,
    confirmed,
    diagnosis,
    happened,
    id_,
    observation,
    registered,
    requested,
    retracted,
    revised,
    row,
    rows,
    stay,
    transfer,
)


def chart(*events: Happened) -> Resource:
    found: Resource = row(projection, *events)
    return found


def test_a_resource_under_a_local_code_is_found_by_what_it_stands_for_too() -> None:
    raw = b'{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"urn:lab","code":"K"}]}}'
    code = Coding(system="http://loinc.org", code="2823-3", local="urn:lab|K")
    found = chart(happened(replace(observation(), code=code, resource=raw)))
    assert found.code == "http://loinc.org|2823-3"
    assert {
        token("code", system, code)
        for system, code in ((ANY, "K"), ("urn:lab", "K"), (ANY, "2823-3"), ("http://loinc.org", "2823-3"))
    } <= set(found.tokens)
    unmapped = replace(observation(), code=Coding(system="urn:lab", code="K", local="urn:lab|K"), resource=raw)
    assert set(chart(happened(unmapped)).tokens) == {
        *(token("code", ANY, "K"), token("code", "urn:lab", "K"), token("status", ANY, "final")),
    }


def test_a_recorded_resource_says_where_its_body_lies() -> None:
    assert chart(happened(observation())) == Resource(
        subject=SUBJECT,
        resource_id=UUID(id_(41)),
        recorded=at(0),
        version=1,
        retracted=False,
        resource_type="Observation",
        source="chart",
        status="final",
        category_code="vital-signs",
        code="http://loinc.org|8302-2",
        date="2026-03-30T10:00:00+02:00",
        encounter_id=UUID(id_(51)),
        clinic=GP,
        seqs=(1,),
        begins=None,
        ends=None,
        tokens=(),
    )


def test_a_row_has_what_its_resource_is_searched_by() -> None:
    raw = (
        b'{"resourceType":"Observation","status":"final","effectiveDateTime":"2026-03-30T10:00:00+02:00",'
        b'"code":{"coding":[{"system":"urn:own","code":"L1"},{"system":"http://loinc.org","code":"8302-2"}]}}'
    )
    found = chart(happened(observation(resource=raw)))
    assert {token("code", "http://loinc.org", "8302-2"), token("code", ANY, "L1")} <= set(found.tokens)
    assert token("status", ANY, "final") in found.tokens
    assert (found.begins, found.ends) == (
        datetime(2026, 3, 30, 8, tzinfo=UTC),
        datetime(2026, 3, 30, 8, 0, 1, tzinfo=UTC),
    )
    later = chart(happened(observation(resource=raw)), happened(amended(resource=b'{"status":"amended"}'), 1))
    assert set(later.tokens) == {token("status", ANY, "amended")}
    assert later.begins is None


def words(*events: Happened) -> list[tuple[int, str, str]]:
    return [(w.place, w.part, w.word) for w in rows(projection, *events, table="cluster_chart_word")]


def test_a_patient_is_found_by_every_part_of_every_name() -> None:
    raw = '{"resourceType":"Patient","name":[{"family":"von Müller","given":["Ada"]},{"family":"Meier"}]}'.encode()
    assert words(happened(replace(registered(), resource=raw))) == [
        (0, "family", "von muller"),
        (1, "family", "muller"),
        (2, "given", "ada"),
        (3, "family", "meier"),
    ]


def test_a_name_that_is_gone_is_not_found_any_more() -> None:
    first = b'{"resourceType":"Patient","name":[{"family":"Meier","given":["Ada"]}]}'
    then = b'{"resourceType":"Patient","name":[{"family":"Schmid"}]}'
    changed = PatientDetailsChanged(
        patient_id=str(SUBJECT), family="Schmid", given="", birth_date="", gender="", resource=then
    )
    assert words(happened(replace(registered(), resource=first)), happened(changed, 1)) == [(0, "family", "schmid")]


def test_every_version_has_its_event_in_order() -> None:
    found = chart(
        happened(observation()),
        happened(amended(status="amended"), 1, clinic=ONCO),
        happened(retracted(version=3), 2),
    )
    assert (found.version, found.seqs, found.status, found.retracted) == (3, (1, 2, 3), "entered-in-error", True)
    assert (found.recorded, found.clinic, found.code) == (at(2), GP, "http://loinc.org|8302-2")


def test_a_retraction_may_be_the_first_that_is_heard() -> None:
    found = chart(happened(retracted(version=1, resource=b"{}")))
    assert (found.version, found.seqs, found.retracted, found.resource_type) == (1, (1,), True, "Observation")


def test_a_condition_takes_its_status_from_what_happened_to_it() -> None:
    about = {"condition_id": id_(1), "code": BREAST, "group": "oncology"}
    resolved = happened(DiagnosisResolved(**about, clinical_status="remission"))  # type: ignore[arg-type]
    refuted = happened(DiagnosisRefuted(**about))  # type: ignore[arg-type]
    assert chart(happened(diagnosis())).status == "provisional"
    assert chart(happened(diagnosis()), happened(confirmed())).status == "confirmed"
    assert chart(happened(diagnosis()), resolved, happened(confirmed())).status == "remission"
    assert chart(happened(diagnosis()), resolved, happened(revised())).status == "provisional"
    assert chart(happened(diagnosis()), refuted, happened(revised())).status == "refuted"
    found = chart(happened(diagnosis()), happened(DiagnosisEnteredInError(**about), 3))  # type: ignore[arg-type]
    assert (found.status, found.retracted, found.version, found.recorded) == ("entered-in-error", True, 1, at(0))


def test_facts_without_bytes_are_no_versions() -> None:
    death = PatientDeathRecorded(patient_id=str(SUBJECT), deceased_at="")
    found = chart(happened(registered()), happened(death), happened(PatientEnteredInError(patient_id=str(SUBJECT))))
    assert (found.resource_type, found.version, found.seqs, found.retracted) == ("Patient", 1, (1,), True)


def test_a_referrals_resource_follows_its_end() -> None:
    assert chart(happened(requested())).status == "active"
    assert chart(happened(requested()), happened(ReferralCancelled(**between(), reason=""))).status == "revoked"
    assert chart(happened(requested()), happened(ReferralEnteredInError(**between()))).retracted


def test_a_stays_resource_follows_the_patient() -> None:
    home = PatientDischarged(**stay(), disposition=Coding())
    found = chart(
        happened(transfer()),
        happened(StayRevised(**stay(), resource=b"{ }")),
        happened(admission()),
        happened(home),
        happened(StayRevised(**stay(), resource=b"{  }")),
    )
    assert (found.resource_type, found.status, found.seqs) == ("Encounter", "finished", (1, 2, 5))


@pytest.mark.parametrize(("resource", "version"), [(b"", 1), (b"{ }", 2)])
def test_an_episode_by_mistake_is_marked_with_or_without_bytes(resource: bytes, version: int) -> None:
    def episode(status: str, resource: bytes) -> EpisodeRecorded:
        return EpisodeRecorded(
            episode_id=id_(61), clinic_id=ONCO, status=status, condition_id="", referral_id="", resource=resource
        )

    found = chart(happened(episode("active", b"{}")), happened(episode("entered-in-error", resource)))
    assert (found.resource_type, found.retracted, found.version) == ("EpisodeOfCare", True, version)


def test_the_directory_is_charted_too() -> None:
    entry = EntryRecorded(
        resource_type="Practitioner",
        resource_id=id_(9),
        name="Dr. Who",
        active=True,
        specialties=(),
        languages=(),
        practitioner_id="",
        organization_id="",
        resource=b"{}",
    )
    gone = EntryRetracted(resource_type="Practitioner", resource_id=id_(9), resource_version=2)
    assert chart(happened(entry)).status == "active"
    assert (chart(happened(entry), happened(gone)).retracted, chart(happened(entry), happened(gone)).seqs) == (
        True,
        (1, 2),
    )


def test_a_resource_that_changes_hands_has_a_row_per_service() -> None:
    as_chart = happened(observation(21, resource_type="Encounter"))
    assert [found.source for found in rows(projection, as_chart, happened(transfer()))] == [
        "chart",
        "inpatient_oncology",
    ]
