"""Rebuild, blue/green: read models made anew from the ledger beside the live ones, compared, and swapped."""

from epicrisis.rebuild.run import Outcome, drop, rebuild, rollback

__all__ = ["Outcome", "drop", "rebuild", "rollback"]
