"""Referral: one clinic asks another to see, treat or advise on a patient (FHIR ServiceRequest and Task)."""

from __future__ import annotations

from epicrisis.decider import Service
from services.referral.decider import decide, evolve, initial
from services.referral.fhir import reads

service = Service(name="referral", decide=decide, evolve=evolve, initial=initial, reads=reads)
