"""What outlives a process that takes messages in, and what is sent to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis import assembly
from epicrisis.codec import KeyStore, MemoryKeyStore
from epicrisis.fhir.codes import Codes
from epicrisis.found import services
from epicrisis.intake import Intake, Receipt
from epicrisis.intake.identity import Digests
from epicrisis.intake.inbox import Inbox
from epicrisis.intake.memory import MemoryInbox
from epicrisis.intake.terms import Terms
from epicrisis.journal import Append, Appended, Journal, MemoryJournal, Naming
from epicrisis.settings import Settings
from tests.kernel_support import observation

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class House:
    """Everything that outlives a process: journals, inbox, keys."""

    journals: Mapping[str, Journal]
    inbox: Inbox
    keys: KeyStore
    settings: Settings | None = None
    own: str = field(default_factory=lambda: f"op{uuid4().hex[:8]}")
    """An operator whom no other test knows."""

    codes: Codes = field(default_factory=Codes)

    def intake(self, journals: Mapping[str, Journal] | None = None) -> Intake:
        """A process."""
        return Intake(
            services=services(),
            journals=journals or self.journals,
            inbox=self.inbox,
            codec=assembly.codec(),
            keys=self.keys,
            digests=Digests(b"k" * 32),
            clock=lambda: NOW,
            terms={self.own: Terms(codes=self.codes)},
        )

    def receive(
        self, raw: bytes, *, operator: str = "", intake: Intake | None = None, name: str | None = None
    ) -> Receipt:
        operator = operator or self.own
        receive = (intake or self.intake()).receive
        return receive(raw, operator=operator, clinic=f"{operator}/gyn", door="test", name=name)

    def events(self, *messages: UUID) -> list[tuple[Any, ...]]:
        """What these messages have caused: source, subject, seq, id, stream, body."""
        found = []
        for name, journal in self.journals.items():
            if isinstance(journal, MemoryJournal):
                values = [event.value for _, event in journal.log]
            else:
                assert self.settings
                with psycopg.connect(self.settings.dsn_for(name, name)) as connection:
                    values = [value for (value,) in connection.execute("SELECT value FROM journal.event")]
            for value in values:
                sealed = assembly.codec().open(value)
                meta = sealed.meta
                if meta.message in messages:
                    key = self.keys.by_ids([meta.key])[meta.key] if meta.key else None
                    assert key
                    body = assembly.codec().unseal(sealed, key)
                    found.append((name, meta.subject, meta.seq, meta.id, meta.stream, body))
        return sorted(found, key=repr)

    def named(self, resource_type: str, value: str) -> dict[str, list[Naming]]:
        """By service what it says of the identifier ``urn:numbers|value`` of this house's operator."""
        digest = Digests(b"k" * 32).identifier(self.own, resource_type, "urn:numbers", value)
        return {name: sorted(found) for name, journal in self.journals.items() if (found := journal.named([digest]))}


def in_memory() -> House:
    return House({name: MemoryJournal(name) for name in services()}, MemoryInbox(), MemoryKeyStore())


def subject_of(house: House, receipt: Receipt) -> UUID:
    (subject,) = {e[1] for e in house.events(receipt.message) if e[0] == "registration"}
    return subject


def one(resource: dict[str, Any] | None = None, **request: str) -> bytes:
    """A transaction of one entry."""
    entry: dict[str, Any] = {"request": request} | ({"resource": resource} if resource else {})
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}).encode()


def numbered(resource: dict[str, Any], *values: str, **more: str) -> dict[str, Any]:
    """With the identifiers ``urn:numbers|value``."""
    return resource | {"identifier": [{"system": "urn:numbers", "value": value} | more for value in values]}


NEW_OBSERVATION = {name: value for name, value in observation().items() if name != "id"}


def task(own_id: str = "t1", status: str = "accepted", about: str = "ServiceRequest/r1") -> dict[str, Any]:
    return {
        "resourceType": "Task",
        "id": own_id,
        "status": status,
        "intent": "order",
        "focus": {"reference": about},
        "for": {"reference": "Patient/p1"},
    }


def request_to(other: str) -> dict[str, Any]:
    def clinic(name: str) -> dict[str, Any]:
        return {"identifier": {"system": "urn:epicrisis:clinic", "value": name}}

    return {
        "resourceType": "ServiceRequest",
        "id": "r1",
        "status": "active",
        "intent": "order",
        "code": {"text": "Second opinion"},
        "subject": {"reference": "Patient/p1"},
        "performer": [clinic(f"{other}/onco")],
    }


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """A journal whose process is killed at its n-th append, before the commit or right after it."""

    def __init__(self, inner: Journal, countdown: list[int], after: bool) -> None:
        self.inner, self.countdown, self.after = inner, countdown, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def append(self, appends: list[Append], *more: Any) -> Appended:
        self.countdown[0] -= 1
        if self.countdown[0] == 0 and not self.after:
            raise Killed
        done = self.inner.append(appends, *more)
        if self.countdown[0] == 0:
            raise Killed
        return done


def dies(house: House, raw: bytes, *, at: int, after: bool = False) -> None:
    """A process takes this in, and is killed at its n-th append: before the commit, or right after it."""
    countdown = [at]
    dying = {name: Dying(journal, countdown, after) for name, journal in house.journals.items()}
    with pytest.raises(Killed):
        house.receive(raw, intake=house.intake(dying))
