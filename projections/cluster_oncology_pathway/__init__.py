"""The way of each oncology patient: suspicion, diagnosis, referral, admission, first treatment; and the promise.

Diagnoses, referrals and stays come from services without a common order. So the row keeps each service's facts under
their ids, and works the milestones out anew from all of them at every change: the same whichever came first.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec import field

from epicrisis.event import Meta, record, replace
from epicrisis.projection import Key, Projection, Scope
from schemas.diagnosis import (
    DiagnosisConfirmed,
    DiagnosisEnteredInError,
    DiagnosisRecorded,
    DiagnosisRefuted,
    DiagnosisRevised,
    DiagnosisStaged,
)
from schemas.inpatient_oncology import (
    PatientAdmitted,
    StayEnteredInError,
    TransferCancelled,
    TransferRequested,
    TreatmentStageStarted,
)
from schemas.referral import (
    ReferralAccepted,
    ReferralCancelled,
    ReferralEnteredInError,
    ReferralRequested,
    ReferralRevised,
)

projection = Projection(name="cluster_oncology_pathway", version=2, scope=Scope.CLUSTER)

POLICY = tomllib.loads(Path(__file__).with_name("policy.toml").read_text(encoding="utf-8"))
GROUPS = frozenset(POLICY["groups"])
DIAGNOSIS_WITHIN = timedelta(hours=POLICY["diagnosis_within_hours"])
REFERRAL_WITHIN = timedelta(hours=POLICY["referral_within_hours"])
SAME_DISEASE_WITHIN = timedelta(days=POLICY["same_disease_within_days"])
TREATMENTS = frozenset(POLICY["treatments"])

Facts = dict[str, dict[str, str]]
"""Per id what is known of it; times in ISO 8601."""


@projection.table(key=("subject",))
@record
class Pathway:
    """A patient's milestones, of the leading diagnosis: the one confirmed first, else suspected first.

    ``status``: suspected, confirmed, refuted, or empty where there is no oncology diagnosis (or not yet).
    ``hours_to_diagnosis`` runs from suspicion to the answer, ``hours_to_referral`` from confirmation to the referral
    (0 where it came before). ``promise_kept`` is None until it can be told, and ``due_at`` the limit that still runs.
    """

    subject: UUID
    status: str = ""
    code: str = ""
    display: str = ""
    stage_group: str = ""
    suspected_at: datetime | None = None
    confirmed_at: datetime | None = None
    refuted_at: datetime | None = None
    referred_at: datetime | None = None
    accepted_at: datetime | None = None
    admitted_at: datetime | None = None
    first_treatment_at: datetime | None = None
    hours_to_diagnosis: float | None = None
    hours_to_referral: float | None = None
    promise_kept: bool | None = None
    due_at: datetime | None = None
    conditions: Facts = field(default_factory=dict)
    referrals: Facts = field(default_factory=dict)
    stays: Facts = field(default_factory=dict)
    updated: datetime


def of_oncology(event: Any, meta: Meta) -> Iterable[Key]:
    return ((meta.subject,),) if event.group in GROUPS else ()


# --- facts, each service's own ---------------------------------------------------------------------------------------


@projection.on(DiagnosisRecorded, Pathway, rows=of_oncology)
@projection.on(DiagnosisRevised, Pathway)
def diagnosis(row: Pathway | None, event: DiagnosisRecorded | DiagnosisRevised, meta: Meta) -> Pathway | None:
    known = row is not None and event.condition_id in row.conditions
    if event.group not in GROUPS:  # revised into something else: no longer ours, but it may come back
        return _told(row, meta, "conditions", event.condition_id, group=event.group) if known else row
    earliest = meta.effective
    if row is not None and (before := row.conditions.get(event.condition_id, {}).get("suspected")):
        earliest = min(earliest, _time(before))
    return _told(
        row,
        meta,
        "conditions",
        event.condition_id,
        group=event.group,
        code=event.code.token,
        display=event.text or event.code.display,
        suspected=earliest.isoformat(),
    )


@projection.on(DiagnosisConfirmed, Pathway, rows=of_oncology)
def confirmed(row: Pathway | None, event: DiagnosisConfirmed, meta: Meta) -> Pathway:
    return _told(row, meta, "conditions", event.condition_id, confirmed=meta.effective.isoformat())


@projection.on(DiagnosisStaged, Pathway, rows=of_oncology)
def staged(row: Pathway | None, event: DiagnosisStaged, meta: Meta) -> Pathway:
    return _told(row, meta, "conditions", event.condition_id, stage_group=event.stage_group)


@projection.on(DiagnosisRefuted, Pathway, rows=of_oncology)
def refuted(row: Pathway | None, event: DiagnosisRefuted, meta: Meta) -> Pathway:
    return _told(row, meta, "conditions", event.condition_id, refuted=meta.effective.isoformat())


@projection.on(DiagnosisEnteredInError, Pathway, rows=of_oncology)
def diagnosis_in_error(row: Pathway | None, event: DiagnosisEnteredInError, meta: Meta) -> Pathway:
    return _forget(row, meta, "conditions", event.condition_id)


@projection.on(ReferralRequested, Pathway)
def referral(row: Pathway | None, event: ReferralRequested, meta: Meta) -> Pathway:
    at = meta.effective.isoformat()
    return _told(row, meta, "referrals", event.referral_id, condition=event.condition_id, requested=at)


@projection.on(ReferralRevised, Pathway)
def referral_revised(row: Pathway | None, event: ReferralRevised, meta: Meta) -> Pathway:
    return _told(row, meta, "referrals", event.referral_id, condition=event.condition_id)


@projection.on(ReferralAccepted, Pathway)
def referral_accepted(row: Pathway | None, event: ReferralAccepted, meta: Meta) -> Pathway:
    return _told(row, meta, "referrals", event.referral_id, accepted=meta.effective.isoformat())


@projection.on(ReferralCancelled, Pathway)
@projection.on(ReferralEnteredInError, Pathway)
def referral_withdrawn(row: Pathway | None, event: ReferralCancelled | ReferralEnteredInError, meta: Meta) -> Pathway:
    return _forget(row, meta, "referrals", event.referral_id)


@projection.on(TransferRequested, Pathway)
def transfer(row: Pathway | None, event: TransferRequested, meta: Meta) -> Pathway:
    at = meta.effective.isoformat()
    return _told(
        row, meta, "stays", event.stay_id, condition=event.condition_id, referral=event.referral_id, requested=at
    )


@projection.on(PatientAdmitted, Pathway)
def admitted(row: Pathway | None, event: PatientAdmitted, meta: Meta) -> Pathway:
    links = {"condition": event.condition_id, "referral": event.referral_id}
    at = meta.effective.isoformat()
    return _told(row, meta, "stays", event.stay_id, admitted=at, **{k: v for k, v in links.items() if v})


@projection.on(TreatmentStageStarted, Pathway)
def treated(row: Pathway | None, event: TreatmentStageStarted, meta: Meta) -> Pathway | None:
    if event.kind not in TREATMENTS:
        return row
    first = meta.effective
    if row is not None and (before := row.stays.get(event.stay_id, {}).get("treated")):
        first = min(first, _time(before))
    return _told(row, meta, "stays", event.stay_id, treated=first.isoformat())


@projection.on(TransferCancelled, Pathway)
@projection.on(StayEnteredInError, Pathway)
def stay_withdrawn(row: Pathway | None, event: TransferCancelled | StayEnteredInError, meta: Meta) -> Pathway:
    return _forget(row, meta, "stays", event.stay_id)


def _told(row: Pathway | None, meta: Meta, kind: str, id_: str, **facts: str) -> Pathway:
    known: Facts = getattr(row, kind) if row else {}
    return _changed(row, meta, kind, {**known, id_: {**known.get(id_, {}), **facts}})


def _forget(row: Pathway | None, meta: Meta, kind: str, id_: str) -> Pathway:
    known: Facts = getattr(row, kind) if row else {}
    return _changed(row, meta, kind, {key: facts for key, facts in known.items() if key != id_})


def _changed(row: Pathway | None, meta: Meta, kind: str, facts: Facts) -> Pathway:
    """The row stays even without facts: it remembers what was recorded last, whatever the order."""
    old = row or Pathway(subject=meta.subject, updated=meta.recorded)
    changes: dict[str, Any] = {kind: facts}
    return derive(replace(old, updated=max(old.updated, meta.recorded), **changes))


# --- milestones, from all facts --------------------------------------------------------------------------------------


def derive(row: Pathway) -> Pathway:
    """The row with its milestones worked out anew from its facts."""
    ours = {id_: facts for id_, facts in row.conditions.items() if facts.get("group") in GROUPS}
    nothing = Pathway(
        subject=row.subject, updated=row.updated, conditions=row.conditions, referrals=row.referrals, stays=row.stays
    )
    if not ours:
        return nothing
    leading = min(ours, key=lambda id_: _rank(id_, ours[id_]))
    lead = ours[leading]
    status = "refuted" if "refuted" in lead else "confirmed" if "confirmed" in lead else "suspected"
    same = _same_disease(leading, ours)
    suspected_at = min(_time(ours[id_]["suspected"]) for id_ in same)
    confirmed_at, refuted_at = _at(lead, "confirmed"), _at(lead, "refuted")
    referrals, stays = _linked(same, row.referrals, row.stays)
    referred_at = _first(referrals, "requested") or _first(stays, "requested")
    answered_at = refuted_at or confirmed_at
    kept, due_at = _promise(suspected_at, confirmed_at, refuted_at, referred_at)
    return replace(
        nothing,
        status=status,
        code=lead["code"],
        display=lead["display"],
        stage_group=lead.get("stage_group", ""),
        suspected_at=suspected_at,
        confirmed_at=confirmed_at,
        refuted_at=refuted_at,
        referred_at=referred_at,
        accepted_at=_first(referrals, "accepted"),
        admitted_at=_first(stays, "admitted"),
        first_treatment_at=_first(stays, "treated"),
        hours_to_diagnosis=_hours(suspected_at, answered_at),
        hours_to_referral=_hours(confirmed_at, referred_at),
        promise_kept=kept,
        due_at=due_at,
    )


def _rank(id_: str, facts: dict[str, str]) -> tuple[bool, bool, datetime, str]:
    """Holding before ruled out, confirmed before suspected, early before late."""
    when = _time(facts.get("confirmed") or facts["suspected"])
    return "refuted" in facts, "confirmed" not in facts, when, id_


def _same_disease(leading: str, ours: Facts) -> set[str]:
    """The entries of the leading diagnosis's disease: itself, and open suspicions shortly before it."""
    begin = _time(ours[leading]["suspected"])
    same = {leading}
    if "refuted" not in ours[leading]:
        for id_, facts in ours.items():
            earlier = begin - _time(facts["suspected"])
            if "refuted" not in facts and timedelta(0) <= earlier <= SAME_DISEASE_WITHIN:
                same.add(id_)
    return same


def _linked(same: set[str], referrals: Facts, stays: Facts) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The referrals and stays that rest on the disease, directly or through one another, and stays that name neither.

    Where stays name their referrals, only those count: the others sent the patient for advice, not for treatment.
    """
    on_condition = {s.get("referral") for s in stays.values() if s.get("condition") in same}
    ours = {id_ for id_, facts in referrals.items() if facts.get("condition") in same or id_ in on_condition}
    staying = [
        s
        for s in stays.values()
        if s.get("condition") in same or s.get("referral") in ours or not (s.get("condition") or s.get("referral"))
    ]
    led_to_stay = ours & {s["referral"] for s in staying if "referral" in s}
    return [referrals[id_] for id_ in sorted(led_to_stay or ours)], staying


def _promise(
    suspected_at: datetime, confirmed_at: datetime | None, refuted_at: datetime | None, referred_at: datetime | None
) -> tuple[bool | None, datetime | None]:
    """Whether the promise held (None: not yet to be told), and the limit that runs until then."""
    diagnosis_due = suspected_at + DIAGNOSIS_WITHIN
    if refuted_at is not None:
        return refuted_at <= diagnosis_due, None  # an answer in time; there is nothing to be sent for
    if confirmed_at is None:
        return None, diagnosis_due
    if confirmed_at > diagnosis_due:
        return False, None
    referral_due = confirmed_at + REFERRAL_WITHIN
    if referred_at is None:
        return None, referral_due
    return referred_at <= referral_due, None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _at(facts: dict[str, str], name: str) -> datetime | None:
    return _time(facts[name]) if name in facts else None


def _first(many: Iterable[dict[str, str]], name: str) -> datetime | None:
    return min((_time(facts[name]) for facts in many if name in facts), default=None)


def _hours(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return round(max((end - start).total_seconds(), 0.0) / 3600, 2)
