"""What fsck says: where something is wrong, without a word of what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. ``check`` found it; the rest says where, as far as it is known."""

    check: str
    problem: str
    place: str = ""
    subject: UUID | None = None
    source: str = ""
    seq: int | None = None

    def row(self) -> dict[str, Any]:
        """As a row for `emit`."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = ("check", "problem", "place", "subject", "source", "seq")


@dataclass(frozen=True, slots=True)
class Span:
    """Whom to look at: slices ``first`` to ``last``, and of those the subjects with events since a moment."""

    first: int
    last: int
    since: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """For the queries."""
        return {
            "first": self.first,
            "last": self.last,
            "all": self.since is None,
            "since": self.since or BEGINNING,
        }
