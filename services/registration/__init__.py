"""Registration: who the patient is; the cluster's subjects are minted here."""

from __future__ import annotations

from epicrisis.decider import Service
from services.registration.decider import decide, evolve, initial
from services.registration.fhir import reads, share

service = Service(
    name="registration",
    decide=decide,
    evolve=evolve,
    initial=initial,
    reads=reads,
    identifies=frozenset({"Patient"}),
    share=share,
)
