"""Access audit: who looked at a record, changed it or was refused; and who broke the glass."""

from __future__ import annotations

from epicrisis.decider import Service
from services.access_audit.decider import decide, evolve, initial
from services.access_audit.fhir import broken, records

service = Service(
    name="access_audit",
    decide=decide,
    evolve=evolve,
    initial=initial,
    reads={},
    records=records,
    breaks=broken,
)
