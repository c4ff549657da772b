"""Rebuild, blue/green: read models made anew from the ledger beside the live ones, compared, and swapped."""

from epicrisis.rebuild.run import Outcome, drop, rebuild, rollback
from epicrisis.rebuild.subject import Mended, rebuild_subject

__all__ = ["Mended", "Outcome", "drop", "rebuild", "rebuild_subject", "rollback"]
