"""Directory: organisations, places, practitioners, their roles and services: also the register of consultants."""

from __future__ import annotations

from epicrisis.decider import Service
from services.directory.decider import decide, evolve, initial
from services.directory.fhir import reads

service = Service(
    name="directory",
    decide=decide,
    evolve=evolve,
    initial=initial,
    reads=reads,
    identifies=frozenset(reads),
)
