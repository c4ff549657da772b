"""A whole door on doubles in memory, and its callers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.testclient import TestClient

from epicrisis import assembly
from epicrisis.access.api import ACCESS
from epicrisis.access.recorder import Recorder
from epicrisis.codec import KeyStore, MemoryKeyStore
from epicrisis.doors.fhir_http.answers import told
from epicrisis.doors.fhir_http.app import Door, Interaction
from epicrisis.doors.fhir_http.caller import Caller, scopes
from epicrisis.doors.fhir_http.current import Current
from epicrisis.doors.fhir_http.messages import Messages
from epicrisis.doors.fhir_http.openapi import OpenApi
from epicrisis.doors.fhir_http.taking import Taking
from epicrisis.doors.fhir_http.transactions import Transactions
from epicrisis.doors.fhir_http.writing import Writing
from epicrisis.doors.fhir_http.written import Written
from epicrisis.found import services
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests
from epicrisis.intake.memory import MemoryInbox
from epicrisis.journal import Journal, MemoryJournal
from epicrisis.quarantine import Quarantine
from epicrisis.quarantine.memory import MemoryStore

BASE = "http://here/fhir"
FHIR = "application/fhir+json"
CALLERS = {
    "charite": Caller(client="his", operator="charite", clinic="charite/gyn", scopes=scopes("system/*.cruds")),
    "other": Caller(client="other", operator="other", clinic="other/x", scopes=scopes("system/*.cruds")),
    "reader": Caller(client="reader", operator="charite", clinic="charite/gyn", scopes=scopes("system/*.rs")),
    "desk": Caller(client="desk", operator="charite", clinic="charite/gyn", scopes=scopes("system/Patient.cu")),
}


def recorder(journal: Journal | None = None, keys: KeyStore | None = None) -> Recorder:
    """Records accesses in memory."""
    return Recorder(
        service=services()[ACCESS],
        journal=journal or MemoryJournal(ACCESS),
        codec=assembly.codec(),
        keys=keys or MemoryKeyStore(),
    )


class House:
    """Intake and door of one installation."""

    def __init__(self) -> None:
        self.journals = {name: MemoryJournal(name) for name in services()}
        self.inbox, self.keys = MemoryInbox(), MemoryKeyStore()
        self.quarantine = Quarantine(MemoryStore(), self.keys)
        taking = Taking(self.intake, self.quarantine, Written())
        current = Current(services=services(), journals=self.journals, codec=assembly.codec(), keys=self.keys)
        interactions: list[Interaction] = []
        records = recorder(self.journals[ACCESS], self.keys)
        door = Door(base=BASE, interactions=interactions, who=self.who, recorder=records)
        for part in (Writing(taking, current), Transactions(taking, current, door.get), Messages(taking)):
            interactions += part.interactions()
        interactions += OpenApi(interactions).interactions()
        self.interactions = interactions
        self.client = TestClient(door.app(), raise_server_exceptions=False)

    def intake(self) -> Intake:
        return Intake(
            services=services(),
            journals=self.journals,
            inbox=self.inbox,
            codec=assembly.codec(),
            keys=self.keys,
            digests=Digests(b"k" * 32),
            clock=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC),
        )

    @staticmethod
    def who(authorization: str) -> Caller:
        found = CALLERS.get(authorization.removeprefix("Bearer "))
        if found is None:
            raise told(401, "login", "who?")
        return found

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: str = "charite",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        given = (
            {"Authorization": f"Bearer {by}"} | ({} if content is None else {"Content-Type": FHIR}) | (headers or {})
        )
        return self.client.request(method, f"/fhir{path}", content=content, headers={**given, **(headers or {})})

    def clinical(self) -> list[str]:
        """The types of all events but those that say who has asked."""
        return [e.type for name, j in self.journals.items() if name != ACCESS for _, e in j.log]

    def kept(self) -> list[tuple[str, str]]:
        """Codes and places of what is in quarantine."""
        return [problem for held in self.quarantine.rows() for problem in held.problems]
