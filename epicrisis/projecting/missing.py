"""Where what a consumer has missed is fetched: from the journals, which have every event."""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import UUID

from epicrisis.database import Database
from epicrisis.errors import Unreachable
from epicrisis.journal import PostgresJournal
from epicrisis.projecting.parking import Missing
from epicrisis.settings import Settings

SILENT_SECONDS = 60.0
"""So long a journal that did not answer is not asked again: each question to it takes ten seconds."""


def journal_reader(settings: Settings, services: Iterable[str]) -> Missing:
    """Fetches what is missing from the journals themselves."""
    journals = {
        name: PostgresJournal(name, Database(settings.dsn_for(name, "worker"), size=1, name=name)) for name in services
    }
    silent: dict[str, float] = {}

    def missing(subject: UUID, source: str, first: int, last: int) -> list[bytes]:
        journal = journals.get(source)
        if journal is None:
            return []
        if time.monotonic() < silent.get(source, 0.0):
            raise Unreachable(f"the journal of {source} did not answer just now: see `epicrisis doctor`")
        try:
            return journal.after(subject, first, last)
        except Unreachable:
            silent[source] = time.monotonic() + SILENT_SECONDS
            raise

    return missing
