"""Diagnosis: from first suspicion to confirmation, stage and outcome (FHIR Condition)."""

from __future__ import annotations

from epicrisis.decider import Service
from services.diagnosis.decider import decide, evolve, initial
from services.diagnosis.fhir import reads

service = Service(name="diagnosis", decide=decide, evolve=evolve, initial=initial, reads=reads)
