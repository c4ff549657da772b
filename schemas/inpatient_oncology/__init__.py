"""Inpatient oncology: a stay from the request for transfer to discharge, with its stages of treatment.

Streams are ``Encounter/<id>`` (a stay) and ``EpisodeOfCare/<id>``. ``clinic_id`` is the clinic that the patient
comes to (``operator/site``). ``resource`` is the FHIR resource that said so, byte for byte, kept by the event that
brought it; the Tasks of the stages of treatment are kept by ``chart``: here they are facts.
"""

from __future__ import annotations

from epicrisis.event import event
from schemas.common import Coding


@event(version=1)
class TransferRequested:
    """A bed is asked for. Rests on a diagnosis and a referral (their ids, or empty)."""

    stay_id: str
    clinic_id: str
    from_clinic: str
    condition_id: str
    referral_id: str
    episode_id: str
    resource: bytes


@event(version=1)
class StayRevised:
    """The stay was sent again with other content, which moves nothing.

    ``previous_clinic_id`` is the clinic that was asked before, where the request now goes to another one; else empty.
    """

    stay_id: str
    clinic_id: str
    previous_clinic_id: str = ""
    resource: bytes


@event(version=1)
class BedAssigned:
    """A bed waits for the patient. ``location_id`` is the bed's or ward's Location."""

    stay_id: str
    clinic_id: str
    location_id: str


@event(version=1)
class PatientAdmitted:
    """The patient is in."""

    stay_id: str
    clinic_id: str
    location_id: str
    condition_id: str
    referral_id: str


@event(version=1)
class WardMoved:
    """The patient lies elsewhere now."""

    stay_id: str
    clinic_id: str
    from_location_id: str
    location_id: str


@event(version=2)
class TreatmentStageStarted:
    """A stage began. ``kind``: surgery, chemotherapy, radiotherapy or rehabilitation."""

    stay_id: str
    clinic_id: str
    stage_id: str
    kind: str
    code: Coding


@event(version=1)
class TreatmentStageFinished:
    """A stage is over. ``outcome``: completed, failed or cancelled (as Task.status)."""

    stay_id: str
    clinic_id: str
    stage_id: str
    kind: str
    outcome: str


@event(version=2)
class PatientDischarged:
    """The patient left. ``disposition`` says where to, or is empty."""

    stay_id: str
    clinic_id: str
    disposition: Coding


@event(version=1)
class TransferCancelled:
    """The stay will not take place."""

    stay_id: str
    clinic_id: str


@event(version=1)
class StayEnteredInError:
    """The stay was a mistake."""

    stay_id: str
    clinic_id: str


@event(version=1)
class EpisodeRecorded:
    """An oncology episode of care, under which several stays are one treatment. ``status`` as in FHIR."""

    episode_id: str
    clinic_id: str
    status: str
    condition_id: str
    referral_id: str
    resource: bytes
