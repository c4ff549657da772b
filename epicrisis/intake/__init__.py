"""Intake: from a message that passed the gate to the services, wholly or not at all."""

from epicrisis.intake.receive import Intake, Receipt

__all__ = ["Intake", "Receipt"]
