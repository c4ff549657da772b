"""The ledger: the archive of every event, in log order, chained per subject."""

from epicrisis.ledger.follower import LEDGER, LedgerFollower
from epicrisis.ledger.history import Entry, history

__all__ = ["LEDGER", "Entry", "LedgerFollower", "history"]
