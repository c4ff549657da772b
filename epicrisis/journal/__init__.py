"""The journal: a service's own event store, and the authority for what happened."""

from epicrisis.journal.api import Append, Appended, Claim, History, Journal, Naming, NewEvent, Stored, Unnumbered
from epicrisis.journal.memory import MemoryJournal
from epicrisis.journal.memory_outgoing import MemoryOutgoing
from epicrisis.journal.outgoing import Outgoing
from epicrisis.journal.postgres import PostgresJournal
from epicrisis.journal.postgres_outgoing import PostgresOutgoing

__all__ = [
    "Append",
    "Appended",
    "Claim",
    "History",
    "Journal",
    "MemoryJournal",
    "MemoryOutgoing",
    "Naming",
    "NewEvent",
    "Outgoing",
    "PostgresJournal",
    "PostgresOutgoing",
    "Stored",
    "Unnumbered",
]
