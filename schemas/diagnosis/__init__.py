"""Diagnosis: the way of a FHIR Condition from first suspicion to confirmation, stage and outcome.

Streams are ``Condition/<id>``. ``resource`` is the FHIR Condition, byte for byte. ``group`` is the diagnosis group
by the policy of the service (``oncology``, ``other``, ...). Every event carries what its readers need: they look
nothing up.
"""

from __future__ import annotations

from epicrisis.event import event
from schemas.common import Coding


@event(version=2)
class DiagnosisRecorded:
    """A diagnosis was written down. ``verification``: unconfirmed, provisional, differential or confirmed."""

    condition_id: str
    code: Coding
    text: str
    group: str
    verification: str
    clinical_status: str
    onset: str
    encounter_id: str
    resource: bytes


@event(version=2)
class DiagnosisRevised:
    """The same diagnosis was sent with other content."""

    condition_id: str
    code: Coding
    text: str
    group: str
    verification: str
    clinical_status: str
    onset: str
    encounter_id: str
    resource: bytes


@event(version=2)
class DiagnosisConfirmed:
    """There is enough evidence: the diagnosis holds."""

    condition_id: str
    code: Coding
    group: str


@event(version=2)
class DiagnosisStaged:
    """Stage group and TNM categories, from Condition.stage or from an Observation (``basis``: its reference)."""

    condition_id: str
    code: Coding
    group: str
    stage_group: str
    t: str
    n: str
    m: str
    basis: str


@event(version=2)
class DiagnosisRefuted:
    """The diagnosis was ruled out."""

    condition_id: str
    code: Coding
    group: str


@event(version=2)
class DiagnosisResolved:
    """The condition is over, or in remission or inactive (``clinical_status``)."""

    condition_id: str
    code: Coding
    group: str
    clinical_status: str


@event(version=2)
class DiagnosisEnteredInError:
    """The entry was a mistake and says nothing about the patient."""

    condition_id: str
    code: Coding
    group: str
