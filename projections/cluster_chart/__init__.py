"""The chart: every patient's current resources and where each of their versions lies. Bodies stay sealed in the ledger.

A row says what a chart is searched by, and which events hold the resource's versions: the ledger's key is (subject,
source, seq). Codes, references and dates are read off the resource itself (`epicrisis.fhir.searched`). A clinic reads
the charts of the patients of its roster, and everybody the directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from epicrisis.event import Meta, makes_version, record, replace
from epicrisis.fhir.searched import NOTHING, WORDS, Facts, facts, standing_for
from epicrisis.projection import Key, Projection, Scope
from schemas.chart import ResourceAmended, ResourceRecorded, ResourceRetracted
from schemas.common import Coding
from schemas.diagnosis import (
    DiagnosisConfirmed,
    DiagnosisEnteredInError,
    DiagnosisRecorded,
    DiagnosisRefuted,
    DiagnosisResolved,
    DiagnosisRevised,
)
from schemas.directory import EntryAmended, EntryRecorded, EntryRetracted
from schemas.inpatient_oncology import (
    EpisodeRecorded,
    PatientAdmitted,
    PatientDischarged,
    StayEnteredInError,
    StayRevised,
    TransferCancelled,
    TransferRequested,
)
from schemas.referral import (
    ReferralCancelled,
    ReferralCompleted,
    ReferralEnteredInError,
    ReferralRequested,
    ReferralRevised,
)
from schemas.registration import PatientDetailsChanged, PatientEnteredInError, PatientRegistered

projection = Projection(
    name="cluster_chart",
    version=3,
    scope=Scope.CLUSTER,
    resources=True,
    by_roster=True,
    to_all="source = 'directory'",
)

OVER = frozenset({"resolved", "inactive", "remission", "refuted"})
"""The statuses of a Condition that a late confirmation does not take back."""


@projection.table(key=("resource_id", "subject", "source"))
@record
class Resource:
    """A resource's newest version, as one service keeps it. Fields are ordered so that PostgreSQL need not pad them.

    ``seqs`` has the event of each version, in order; ``recorded`` and ``clinic`` are the newest one's.
    ``status`` is the resource's own; a Condition's is its verification, or its clinical status once it is over.
    ``date`` is the FHIR date that the resource is about, as sent; ``begins`` and ``ends`` the moments that the date by
    which this type is searched covers, the end excluded. ``tokens`` are digests of its codes and references.

    The ids are unique across resource types. ``source`` is part of the key, because a resource can change hands (an
    Encounter that becomes an oncology stay), and two services' versions of it have no common order.
    """

    subject: UUID
    resource_id: UUID
    recorded: datetime
    begins: datetime | None
    ends: datetime | None
    version: int
    retracted: bool
    resource_type: str
    source: str
    status: str
    category_code: str
    code: str
    date: str
    encounter_id: UUID | None
    clinic: str
    seqs: tuple[int, ...]
    tokens: tuple[int, ...]


@projection.table(key=("subject", "source", "place"), name="cluster_chart_word")
@record
class Word:
    """A part of a name by which a patient or an entry of the directory is found: lower case, without accents.

    ``place`` counts the parts of one name's owner; ``part`` is family, given or name.
    """

    subject: UUID
    place: int
    source: str
    part: str
    word: str


def by_id(name: str, *, keeps: bool) -> Callable[[Any, Meta], Iterable[Key]]:
    """The row of the resource whose id the event's field ``name`` holds; none if a keeping event brings no bytes."""

    def rows(event: Any, meta: Meta) -> Iterable[Key]:
        if keeps and not makes_version(event):
            return ()
        return ((_id(getattr(event, name)), meta.subject, meta.source),)

    return rows


@lru_cache(maxsize=4096)  # the key and the row both ask, and an encounter's resources come together
def _id(text: str) -> UUID:
    return msgspec.convert(text, UUID)  # a third of the time of UUID(text)


@lru_cache(maxsize=16)  # a name's parts ask for the same again
def _facts(resource_type: str, raw: bytes) -> Facts:
    return facts(resource_type, raw)


def _version(
    row: Resource | None,
    meta: Meta,
    resource_type: str,
    resource_id: str,
    raw: bytes,
    *,
    status: str,
    category_code: str = "",
    code: str = "",
    date: str = "",
    encounter_id: str = "",
    codes: Iterable[Coding] = (),
) -> Resource:
    """The row with one version more, whose bytes these are; ``codes`` may hold what local ones in them stand for."""
    said = facts(resource_type, raw) if raw else NOTHING
    tokens = said.tokens
    for one in codes:
        if one.local and not one.unmapped:
            tokens = standing_for(resource_type, tokens, one.local, one.system, one.code)
    seqs = (meta.seq,) if row is None else (*row.seqs, meta.seq)
    return Resource(
        subject=meta.subject,
        resource_id=_id(resource_id),
        recorded=meta.recorded,
        version=len(seqs),
        retracted=False,
        resource_type=resource_type,
        source=meta.source,
        status=status,
        category_code=category_code,
        code=code,
        date=date,
        encounter_id=_id(encounter_id) if encounter_id else None,
        clinic=meta.clinic,
        seqs=seqs,
        begins=said.begins,
        ends=said.ends,
        tokens=tokens,
    )


@projection.on(ResourceRecorded, Resource, rows=by_id("resource_id", keeps=False))
@projection.on(ResourceAmended, Resource, rows=by_id("resource_id", keeps=False))
def recorded(row: Resource | None, event: ResourceRecorded | ResourceAmended, meta: Meta) -> Resource:
    return _version(
        row,
        meta,
        event.resource_type,
        event.resource_id,
        event.resource,
        status=event.status,
        category_code=event.category.code,
        code=event.code.token,
        date=event.date,
        encounter_id=event.encounter_id,
        codes=(event.code, event.category),
    )


@projection.on(ResourceRetracted, Resource, rows=by_id("resource_id", keeps=False))
@projection.on(EntryRetracted, Resource, rows=by_id("resource_id", keeps=False))
def retracted(row: Resource | None, event: ResourceRetracted | EntryRetracted, meta: Meta) -> Resource:
    """The retraction is a version of its own, even where it brings no bytes; and it may be the first that is heard."""
    raw = event.resource if isinstance(event, ResourceRetracted) else b""
    new = _version(row, meta, event.resource_type, event.resource_id, raw, status="entered-in-error")
    if row is None:
        return replace(new, retracted=True)
    return replace(
        row,
        status=new.status,
        retracted=True,
        recorded=new.recorded,
        clinic=new.clinic,
        version=new.version,
        seqs=new.seqs,
    )


@projection.on(PatientRegistered, Resource, rows=by_id("patient_id", keeps=True))
@projection.on(PatientDetailsChanged, Resource, rows=by_id("patient_id", keeps=True))
def patient(row: Resource | None, event: PatientRegistered | PatientDetailsChanged, meta: Meta) -> Resource:
    return _version(row, meta, "Patient", event.patient_id, event.resource, status="", date=event.birth_date)


@projection.on(DiagnosisRecorded, Resource, rows=by_id("condition_id", keeps=True))
@projection.on(DiagnosisRevised, Resource, rows=by_id("condition_id", keeps=True))
def condition(row: Resource | None, event: DiagnosisRecorded | DiagnosisRevised, meta: Meta) -> Resource:
    if row is not None and row.status == "refuted":
        status = "refuted"
    else:
        status = event.clinical_status if event.clinical_status in OVER else event.verification
    return _version(
        row,
        meta,
        "Condition",
        event.condition_id,
        event.resource,
        status=status,
        code=event.code.token,
        date=event.onset,
        encounter_id=event.encounter_id,
        codes=(event.code,),
    )


@projection.on(ReferralRequested, Resource, rows=by_id("referral_id", keeps=True))
@projection.on(ReferralRevised, Resource, rows=by_id("referral_id", keeps=True))
def service_request(row: Resource | None, event: ReferralRequested | ReferralRevised, meta: Meta) -> Resource:
    status = "active" if row is None else row.status
    code, codes = event.purpose.token, (event.purpose,)
    return _version(
        row, meta, "ServiceRequest", event.referral_id, event.resource, status=status, code=code, codes=codes
    )


@projection.on(TransferRequested, Resource, rows=by_id("stay_id", keeps=True))
@projection.on(StayRevised, Resource, rows=by_id("stay_id", keeps=True))
def encounter(row: Resource | None, event: TransferRequested | StayRevised, meta: Meta) -> Resource:
    status = "planned" if row is None else row.status
    return _version(row, meta, "Encounter", event.stay_id, event.resource, status=status)


@projection.on(EpisodeRecorded, Resource, rows=by_id("episode_id", keeps=False))
def episode(row: Resource | None, event: EpisodeRecorded, meta: Meta) -> Resource | None:
    mistake = event.status == "entered-in-error"
    if not makes_version(event):  # deleted: the status without another version
        return row and replace(row, status=event.status, retracted=mistake)
    new = _version(row, meta, "EpisodeOfCare", event.episode_id, event.resource, status=event.status)
    return replace(new, retracted=True) if mistake else new


@projection.on(EntryRecorded, Resource, rows=by_id("resource_id", keeps=True))
@projection.on(EntryAmended, Resource, rows=by_id("resource_id", keeps=True))
def entry(row: Resource | None, event: EntryRecorded | EntryAmended, meta: Meta) -> Resource:
    status = "active" if event.active else "inactive"
    codes = event.specialties
    return _version(row, meta, event.resource_type, event.resource_id, event.resource, status=status, codes=codes)


@projection.on(DiagnosisConfirmed, Resource, rows=by_id("condition_id", keeps=False))
def confirmed(row: Resource | None, event: DiagnosisConfirmed, meta: Meta) -> Resource | None:
    return row if row is None or row.status in OVER else replace(row, status="confirmed")


@projection.on(DiagnosisResolved, Resource, rows=by_id("condition_id", keeps=False))
def resolved(row: Resource | None, event: DiagnosisResolved, meta: Meta) -> Resource | None:
    return row and replace(row, status=event.clinical_status)


def _status(body: type[Any], id_field: str, status: str, *, mistake: bool = False) -> None:
    """An event that changes the status and brings no version."""

    @projection.on(body, Resource, rows=by_id(id_field, keeps=False))
    def changed(row: Resource | None, event: Any, meta: Meta) -> Resource | None:
        return row and replace(row, status=status, retracted=row.retracted or mistake)


_status(DiagnosisRefuted, "condition_id", "refuted")
_status(ReferralCompleted, "referral_id", "completed")
_status(ReferralCancelled, "referral_id", "revoked")
_status(PatientAdmitted, "stay_id", "in-progress")
_status(PatientDischarged, "stay_id", "finished")
_status(TransferCancelled, "stay_id", "cancelled")
_status(PatientEnteredInError, "patient_id", "entered-in-error", mistake=True)
_status(DiagnosisEnteredInError, "condition_id", "entered-in-error", mistake=True)
_status(ReferralEnteredInError, "referral_id", "entered-in-error", mistake=True)
_status(StayEnteredInError, "stay_id", "entered-in-error", mistake=True)


def _part(place: int) -> None:
    """One part of a name; a version with fewer parts removes it."""

    def rows(event: Any, meta: Meta) -> Iterable[Key]:
        return ((meta.subject, meta.source, place),) if event.resource else ()

    @projection.on(PatientRegistered, Word, rows=rows)
    @projection.on(PatientDetailsChanged, Word, rows=rows)
    @projection.on(EntryRecorded, Word, rows=rows)
    @projection.on(EntryAmended, Word, rows=rows)
    def named(row: Word | None, event: Any, meta: Meta) -> Word | None:
        words = _facts(getattr(event, "resource_type", "Patient"), event.resource).words
        if place >= len(words):
            return None
        part, word = words[place]
        return Word(subject=meta.subject, place=place, source=meta.source, part=part, word=word)


for _place in range(WORDS):
    _part(_place)
