"""The ledger: the archive of every event, in log order, chained per subject."""

from epicrisis.ledger.follower import LedgerFollower
from epicrisis.ledger.history import Entry, history

__all__ = ["Entry", "LedgerFollower", "history"]
