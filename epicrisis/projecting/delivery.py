"""What the log delivers, decoded once for all consumers of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from epicrisis.errors import Poison
from epicrisis.event import Meta
from epicrisis.projecting.store import Transaction


class Delivered(msgspec.Struct, gc=False):
    """One event at its place in the log. ``sealed`` is its body as it came, ``body`` None where nobody needs it;
    ``problem`` says why it can't be read. ``n``: its number in its subject's history, once it is applied.
    """

    partition: int
    offset: int
    meta: Meta
    value: bytes
    sealed: bytes = b""
    body: Any = None
    problem: Poison | None = None
    n: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that a consumer could not apply. ``reason`` is a short code without any value in it."""

    delivered: Delivered
    reason: str


class Consumer(Protocol):
    """A projection's version, or the ledger: whoever follows the log with an offset of its own."""

    name: str

    def needs_body(self, event_type: str) -> bool:
        """Whether the body of such an event must be unsealed for this consumer."""
        ...

    def needs_resource(self, event_type: str) -> bool:
        """Whether it reads the FHIR resource in that body, too."""
        ...

    def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        """Apply these events, in order, within this transaction; return those that failed.

        Of a subject whose event failed, no later event may be applied: those come back as failures ``queued``.
        ``shard`` is where counters add up.
        """
        ...


QUEUED = "queued"
