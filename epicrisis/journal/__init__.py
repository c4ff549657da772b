"""The journal: a service's own event store, and the authority for what happened."""

from epicrisis.journal.api import Append, Appended, Claim, History, Journal, NewEvent, Stored
from epicrisis.journal.memory import MemoryJournal
from epicrisis.journal.postgres import PostgresJournal

__all__ = [
    "Append",
    "Appended",
    "Claim",
    "History",
    "Journal",
    "MemoryJournal",
    "NewEvent",
    "PostgresJournal",
    "Stored",
]
