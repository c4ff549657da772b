"""Chart: every clinical resource that no other service keeps, with its versions."""

from __future__ import annotations

from epicrisis.decider import Service
from services.chart.decider import decide, evolve, initial
from services.chart.fhir import fallback, reads

service = Service(name="chart", decide=decide, evolve=evolve, initial=initial, reads=reads, fallback=fallback)
