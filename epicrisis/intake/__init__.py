"""Intake: from a message that passed the gate to the services, wholly or not at all."""

from epicrisis.intake.receipt import Outcome, Receipt
from epicrisis.intake.receive import Intake

__all__ = ["Intake", "Outcome", "Receipt"]
