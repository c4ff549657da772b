"""What a journal can do. `PostgresJournal` and `MemoryJournal` do it; one test suite runs on both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID


class NewEvent(NamedTuple):
    """An event to append. ``value`` is the final record value, sealed and framed; its envelope says the rest, too."""

    id: UUID
    seq: int
    stream: str
    type: str
    recorded: datetime
    value: bytes


class Unnumbered(NamedTuple):
    """An event that is appended behind whatever its subject has. ``before`` and ``after`` are its record value without
    the ``seq`` between them.
    """

    id: UUID
    subject: UUID
    stream: str
    type: str
    recorded: datetime
    before: bytes
    after: bytes


class Stored(NamedTuple):
    """An event of a stream, as the journal holds it."""

    id: UUID
    seq: int
    value: bytes


@dataclass(frozen=True, slots=True)
class History:
    """What a decider may need of one subject: its last ``seq`` (0: none) and the streams asked for, in order."""

    head: int
    streams: Mapping[str, Sequence[Stored]]


class Naming(NamedTuple):
    """An identifier (its keyed digest) that a resource has in the version recorded then. Others may have it, too."""

    digest: bytes
    resource_id: UUID
    recorded: datetime


@dataclass(frozen=True, slots=True)
class Append:
    """Events of one subject, numbered ``expected + 1`` onwards, and by what the resources are found that they keep."""

    subject: UUID
    expected: int
    events: Sequence[NewEvent]
    namings: Sequence[Naming] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """An identifier (its keyed digest) that belongs to a resource from now on."""

    digest: bytes
    resource_id: UUID


@dataclass(frozen=True, slots=True)
class Appended:
    """``seqs`` by event id. ``repeated``: they were there already, and this is the first result again."""

    seqs: Mapping[UUID, int]
    repeated: bool


class Journal(Protocol):
    """The event store of one service."""

    name: str

    def load(self, wanted: Mapping[UUID, Collection[str]]) -> dict[UUID, History]:
        """Heads and streams of these subjects; every subject asked for is in the answer."""
        ...

    def append(
        self,
        appends: Sequence[Append],
        claims: Sequence[Claim] = (),
        members: Collection[tuple[UUID, str]] = (),
    ) -> Appended:
        """Append all of these, with claims and memberships, in one transaction, or nothing.

        Where every event id is there already, the first result comes back and nothing is written.

        Raises
        ------
        Conflict
            A subject is not at its expected ``seq`` any more, or an identifier belongs to another resource. Read
            again, decide again.
        """
        ...

    def append_next(self, events: Sequence[Unnumbered]) -> None:
        """Append all of these, in one transaction, whatever was appended before: for what rests on no state.

        It never conflicts. Nothing is recognised: the same events again are further ones.
        """
        ...

    def known(self, streams: Collection[str]) -> dict[str, UUID]:
        """Which of these streams exist, and of which subject."""
        ...

    def who(
        self, digests: Collection[bytes], subjects: Collection[UUID]
    ) -> tuple[dict[bytes, UUID], set[tuple[UUID, str]]]:
        """Whose identifiers these are; and which operators may write about those found, and about these subjects."""
        ...

    def named(self, digests: Collection[bytes]) -> list[Naming]:
        """The resources that have had these identifiers, each with the last version that had it."""
        ...

    def after(self, subject: UUID, first: int, last: int) -> list[bytes]:
        """The record values ``first..last`` of a subject, in order, for whoever missed them."""
        ...
