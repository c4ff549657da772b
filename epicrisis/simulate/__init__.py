"""The simulated cluster: operators, clinics and patients whose life arrives as FHIR bundles."""

from epicrisis.simulate.letter import Message
from epicrisis.simulate.run import messages

__all__ = ["Message", "messages"]
