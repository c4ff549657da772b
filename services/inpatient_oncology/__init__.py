"""Inpatient oncology: a stay from the request for transfer to discharge, with its stages of treatment."""

from __future__ import annotations

from epicrisis.decider import Service
from services.inpatient_oncology.decider import decide, evolve, initial
from services.inpatient_oncology.fhir import reads

service = Service(
    name="inpatient_oncology",
    decide=decide,
    evolve=evolve,
    initial=initial,
    reads=reads,
    sometimes=frozenset({"Encounter", "EpisodeOfCare"}),
)
