"""Registration: who the patient is. Streams are ``Patient/<subject>``.

``resource`` is the FHIR Patient, byte for byte; it is empty in events that only state a fact of a resource which
another event of the same message keeps. Names and dates are what a clinic's roster shows; they are sealed with the
rest.
"""

from __future__ import annotations

from epicrisis.event import event


@event(version=1)
class PatientRegistered:
    """A person is known to the cluster for the first time."""

    patient_id: str
    family: str
    given: str
    birth_date: str
    gender: str
    resource: bytes


@event(version=1)
class PatientDetailsChanged:
    """An operator sent other details of a person who is known already."""

    patient_id: str
    family: str
    given: str
    birth_date: str
    gender: str
    resource: bytes


@event(version=1)
class PatientDeathRecorded:
    """The person has died. ``deceased_at`` is the FHIR dateTime as sent, empty where only the fact is known."""

    patient_id: str
    deceased_at: str


@event(version=1)
class PatientShared:
    """Another clinic was asked to treat the person, and may write to the history from now on."""

    patient_id: str
    with_clinic: str


@event(version=1)
class PatientEnteredInError:
    """The registration was a mistake."""

    patient_id: str
