"""Histories of one patient for the tests of projections, and every order in which their events may arrive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from epicrisis.event import Meta, event_type
from epicrisis.folding import fold
from epicrisis.projection import Projection
from schemas.access_audit import (
    AccessRecorded,
    BreakGlassEnded,
    BreakGlassReviewed,
    BreakGlassStarted,
    Delivered,
)
from schemas.chart import ResourceAmended, ResourceRecorded, ResourceRetracted
from schemas.common import Coding
from schemas.diagnosis import (
    DiagnosisConfirmed,
    DiagnosisEnteredInError,
    DiagnosisRecorded,
    DiagnosisRefuted,
    DiagnosisResolved,
    DiagnosisRevised,
    DiagnosisStaged,
)
from schemas.inpatient_oncology import (
    BedAssigned,
    EpisodeRecorded,
    PatientAdmitted,
    PatientDischarged,
    StayEnteredInError,
    StayRevised,
    TransferCancelled,
    TransferRequested,
    TreatmentStageFinished,
    TreatmentStageStarted,
    WardMoved,
)
from schemas.referral import (
    ReferralAccepted,
    ReferralCancelled,
    ReferralCompleted,
    ReferralDeclined,
    ReferralEnteredInError,
    ReferralRequested,
    ReferralRevised,
    ReferralScheduled,
)
from schemas.registration import (
    PatientDeathRecorded,
    PatientDetailsChanged,
    PatientEnteredInError,
    PatientRegistered,
    PatientShared,
)

SUBJECT = UUID("0197a000-0000-7000-8000-000000000001")
START = datetime(2026, 3, 30, 8, tzinfo=UTC)
GP, ONCO, OTHER = "gp/town", "charite/onco", "charite/surgery"
BREAST = Coding(system="http://hl7.org/fhir/sid/icd-10", code="C50.9", display="Breast cancer")
COUGH = Coding(system="http://snomed.info/sct", code="49727002", display="Cough")

Happened = tuple[Any, Meta]


def id_(number: int) -> str:
    """A resource's id."""
    return str(UUID(int=number))


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def happened(body: Any, hours: float = 0, *, clinic: str = GP, recorded: float | None = None) -> Happened:
    """An event that was true ``hours`` after the start and recorded then, or ``recorded`` hours after it.

    Its place in its service's history is not known yet: `history` counts.
    """
    type_ = event_type(body)
    meta = Meta(
        id=UUID(int=0),
        type=type_,
        version=1,
        source=type_.partition(".")[0],
        operator=clinic.partition("/")[0],
        clinic=clinic,
        subject=SUBJECT,
        seq=0,
        stream="",
        effective=at(hours),
        recorded=at(hours if recorded is None else recorded),
    )
    return body, meta


def history(events: Iterable[Happened]) -> list[Happened]:
    """The events with their numbers: each service counts its own, from 1."""
    counts: dict[str, int] = {}
    numbered = []
    for body, meta in events:
        counts[meta.source] = seq = counts.get(meta.source, 0) + 1
        fields = {name: getattr(meta, name) for name in meta.__struct_fields__}
        numbered.append((body, Meta(**{**fields, "seq": seq})))
    return numbered


def rows(projection: Projection, *events: Happened, table: str = "") -> list[Any]:
    """The rows of a table (by default the first) after these events."""
    return fold(projection, history(events))[table or projection.name]


def row(projection: Projection, *events: Happened, table: str = "") -> Any:
    """The only row."""
    (only,) = rows(projection, *events, table=table)
    return only


@st.composite
def two_orders(draw: st.DrawFn) -> tuple[Sequence[Happened], Sequence[Happened]]:
    """A part of the story at moving times, twice: every service's own order is the same, all else may differ."""
    of: dict[str, list[Happened]] = {}
    for body, clinic in STORY:
        hours = draw(st.integers(0, 300)) / 2
        recorded = draw(st.integers(0, 20))  # few values, so that some are equal
        event = happened(body, hours, clinic=clinic, recorded=recorded)
        of.setdefault(event[1].source, []).append(event)
    starts = {source: draw(st.integers(0, len(own))) for source, own in of.items()}
    story = history([event for source, own in of.items() for event in own[: starts[source]]])
    sources = [meta.source for _, meta in story]
    return [_arrange(story, draw(st.permutations(sources))) for _ in range(2)]  # type: ignore[return-value]


def _arrange(story: Sequence[Happened], sources: Sequence[str]) -> list[Happened]:
    left = {source: iter([e for e in story if e[1].source == source]) for source in sources}
    return [next(left[source]) for source in sources]


def fields_of(body: Any) -> dict[str, Any]:
    """An event's facts by name."""
    return msgspec.structs.asdict(body)


def diagnosis(
    number: int = 1, *, group: str = "oncology", code: Coding = BREAST, verification: str = "provisional", **more: Any
) -> DiagnosisRecorded:
    known: dict[str, Any] = {
        "text": "",
        "clinical_status": "active",
        "onset": "",
        "encounter_id": "",
        "resource": b"{}",
    }
    return DiagnosisRecorded(
        condition_id=id_(number), group=group, code=code, verification=verification, **{**known, **more}
    )


def revised(number: int = 1, **more: Any) -> DiagnosisRevised:
    new = diagnosis(number, **more)
    return DiagnosisRevised(**fields_of(new))


def confirmed(number: int = 1) -> DiagnosisConfirmed:
    return DiagnosisConfirmed(condition_id=id_(number), code=BREAST, group="oncology")


def requested(number: int = 11, *, to: str = ONCO, sender: str = GP, condition: str | None = None) -> ReferralRequested:
    return ReferralRequested(
        referral_id=id_(number),
        from_clinic=sender,
        to_clinic=to,
        purpose=Coding(system="http://snomed.info/sct", code="394593009", display="Medical oncology"),
        text="",
        priority="urgent",
        condition_id=id_(1) if condition is None else condition,
        resource=b"{}",
    )


def readdressed(number: int = 11, *, to: str, before: str) -> ReferralRevised:
    new = requested(number, to=to)
    return ReferralRevised(**fields_of(new), previous_to_clinic=before)


def between(to: str = ONCO, sender: str = GP, number: int = 11) -> dict[str, str]:
    """What every referral event says."""
    return {"referral_id": id_(number), "from_clinic": sender, "to_clinic": to}


def transfer(number: int = 21, *, condition: str | None = None, referral: str | None = None) -> TransferRequested:
    return TransferRequested(
        stay_id=id_(number),
        clinic_id=ONCO,
        from_clinic=GP,
        condition_id=id_(1) if condition is None else condition,
        referral_id=id_(11) if referral is None else referral,
        episode_id="",
        resource=b"{}",
    )


def admission(number: int = 21) -> PatientAdmitted:
    return PatientAdmitted(**stay(number), location_id="ward-2", condition_id=id_(1), referral_id=id_(11))


def stay(number: int = 21, clinic: str = ONCO) -> dict[str, str]:
    return {"stay_id": id_(number), "clinic_id": clinic}


def stage_started(kind: str = "surgery", stage: int = 31) -> TreatmentStageStarted:
    return TreatmentStageStarted(**stay(), stage_id=id_(stage), kind=kind, code=Coding())


def stage_finished(kind: str = "surgery", stage: int = 31) -> TreatmentStageFinished:
    return TreatmentStageFinished(**stay(), stage_id=id_(stage), kind=kind, outcome="completed")


def registered(**more: str) -> PatientRegistered:
    details = {"family": "Kraus", "given": "Lena", "birth_date": "1971-05-02", "gender": "female", **more}
    return PatientRegistered(patient_id=str(SUBJECT), **details, resource=b"{}")


def observation(number: int = 41, **more: Any) -> ResourceRecorded:
    known: dict[str, Any] = {
        "resource_type": "Observation",
        "resource_id": id_(number),
        "status": "final",
        "category": Coding(code="vital-signs"),
        "code": Coding(system="http://loinc.org", code="8302-2", display="Body height"),
        "date": "2026-03-30T10:00:00+02:00",
        "encounter_id": id_(51),
        "resource": b"{}",
    }
    return ResourceRecorded(**{**known, **more})


def amended(number: int = 41, version: int = 2, **more: Any) -> ResourceAmended:
    new = observation(number, **more)
    return ResourceAmended(**fields_of(new), resource_version=version)


def retracted(number: int = 41, version: int = 2, resource: bytes = b"") -> ResourceRetracted:
    return ResourceRetracted(
        resource_type="Observation", resource_id=id_(number), resource_version=version, resource=resource
    )


_EPISODE = EpisodeRecorded(
    episode_id=id_(61), clinic_id=ONCO, status="active", condition_id=id_(1), referral_id=id_(11), resource=b"{}"
)


def accessed(interaction: str = "read", *, glass: str = "", **more: Any) -> AccessRecorded:
    known: dict[str, Any] = {
        "interaction": interaction,
        "action": "R",
        "outcome": "0",
        "status": 200,
        "client": "his",
        "user": "",
        "purpose": "BTG" if glass else "",
        "reason": "",
        "break_glass_id": glass,
        "request_id": "",
        "resource_type": "Observation",
        "patient": True,
        "delivered": (Delivered(source="chart", seqs="1-3"),),
        "resource": b"{}",
    }
    return AccessRecorded(**{**known, **more})


BROKEN = BreakGlassStarted(
    break_glass_id=id_(71), client="his", user="ada", purpose="BTG", reason="alone", until=at(4), resource=b"{}"
)

STORY: Sequence[tuple[Any, str]] = (
    (BROKEN, OTHER),
    (accessed(glass=id_(71)), OTHER),
    (accessed("search-type"), GP),
    (BreakGlassEnded(break_glass_id=id_(71), by="ada", over=False, resource=b"{}"), OTHER),
    (BreakGlassReviewed(break_glass_id=id_(71), by="ben", justified=True, note="", resource=b"{}"), OTHER),
    (registered(), GP),
    (PatientShared(patient_id=str(SUBJECT), with_clinic=ONCO), GP),
    (
        PatientDetailsChanged(
            patient_id=str(SUBJECT), family="Kraus-Lem", given="Lena", birth_date="", gender="", resource=b"{ }"
        ),
        ONCO,
    ),
    (PatientDeathRecorded(patient_id=str(SUBJECT), deceased_at=""), ONCO),
    (PatientEnteredInError(patient_id=str(SUBJECT)), GP),
    (diagnosis(3, group="other", code=COUGH), GP),
    (diagnosis(), GP),
    (diagnosis(2), ONCO),
    (confirmed(2), ONCO),
    (
        DiagnosisStaged(
            condition_id=id_(2), code=BREAST, group="oncology", stage_group="IIA", t="T2", n="N0", m="M0", basis=""
        ),
        ONCO,
    ),
    (confirmed(), ONCO),
    (revised(3, group="oncology"), GP),
    (DiagnosisRefuted(condition_id=id_(3), code=COUGH, group="oncology"), GP),
    (revised(3, group="other", code=COUGH), GP),
    (DiagnosisEnteredInError(condition_id=id_(2), code=BREAST, group="oncology"), ONCO),
    (DiagnosisResolved(condition_id=id_(1), code=BREAST, group="oncology", clinical_status="remission"), ONCO),
    (requested(), GP),
    (requested(12, to="", condition=""), GP),
    (requested(13, to=OTHER), GP),
    (ReferralAccepted(**between()), ONCO),
    (readdressed(13, to=ONCO, before=OTHER), GP),
    (ReferralDeclined(**between(number=13), reason="no bed"), ONCO),
    (ReferralAccepted(**between(number=12)), ONCO),
    (ReferralScheduled(**between(), scheduled_for="2026-04-02"), ONCO),
    (ReferralCompleted(**between()), ONCO),
    (ReferralCancelled(**between(number=12), reason=""), GP),
    (ReferralEnteredInError(**between(number=13)), GP),
    (_EPISODE, ONCO),
    (transfer(), ONCO),
    (transfer(22, condition=""), ONCO),
    (BedAssigned(**stay(), location_id="bed-7"), ONCO),
    (admission(), ONCO),
    (stage_started(), ONCO),
    (WardMoved(**stay(), from_location_id="ward-2", location_id="ward-3"), ONCO),
    (stage_started("chemotherapy", 32), ONCO),
    (stage_finished(), ONCO),
    (StayRevised(**stay(), resource=b"{ }"), ONCO),
    (PatientDischarged(**stay(), disposition=Coding()), ONCO),
    (StayRevised(**stay(22, OTHER), previous_clinic_id=ONCO, resource=b"{ }"), ONCO),
    (TransferCancelled(**stay(22, OTHER)), OTHER),
    (StayEnteredInError(**stay(22, OTHER)), OTHER),
    (observation(), GP),
    (observation(42, encounter_id=""), ONCO),
    (amended(), OTHER),
    (retracted(42), ONCO),
    (retracted(43, version=1, resource=b"{}"), ONCO),
)
"""A patient's life in which every kind of event happens; each service's own events in their order."""
