"""Quarantine: what a door refused is kept, sealed, until somebody has it sent again or discards it."""

from epicrisis.quarantine.keep import CAP_BYTES, CAP_MESSAGES, Original, Quarantine
from epicrisis.quarantine.store import DISCARDED, RESUBMITTED, WAITING, Held

__all__ = [
    "CAP_BYTES",
    "CAP_MESSAGES",
    "DISCARDED",
    "RESUBMITTED",
    "WAITING",
    "Held",
    "Original",
    "Quarantine",
]
