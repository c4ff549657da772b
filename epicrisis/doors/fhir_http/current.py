"""The newest version of a resource straight from the journals: right after it was written, as it will be read later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from epicrisis.codec import Codec, KeyStore
from epicrisis.decider import Service
from epicrisis.doors.fhir_http.bundles import shown
from epicrisis.errors import KeyLost
from epicrisis.event import makes_version
from epicrisis.journal import Journal, Stored


class Version(NamedTuple):
    """One version of a resource; ``raw`` has its id and meta in it."""

    number: int
    recorded: datetime
    raw: bytes


class Current:
    """Reads the journals. May be shared by threads."""

    def __init__(
        self, *, services: Mapping[str, Service], journals: Mapping[str, Journal], codec: Codec, keys: KeyStore
    ) -> None:
        self._services = services
        self._journals = journals
        self._codec = codec
        self._keys = keys

    def newest(self, resource_type: str, id: str) -> Version | None:
        """The newest version that has bytes, of the cluster's id; None where there is none."""
        stream = f"{resource_type}/{id}"
        found: list[Version] = []
        for service in self._services.values():
            if resource_type in service.reads or service.fallback is not None:
                journal = self._journals[service.name]
                if subject := journal.known([stream]).get(stream):
                    events = journal.load({subject: [stream]})[subject].streams.get(stream, ())
                    if version := self._newest(events, id):
                        found.append(version)
        return max(found, key=lambda version: version.recorded, default=None)

    def _newest(self, events: Sequence[Stored], id: str) -> Version | None:
        number, last = 0, None
        for event in events:
            sealed = self._codec.open(event.value)
            id_ = sealed.meta.key
            assert id_ is not None, "what is in a journal is sealed"
            key = self._keys.by_ids([id_]).get(id_)
            if key is None:
                raise KeyLost("the key of this subject was destroyed: it is erased")
            body = self._codec.unseal(sealed, key)
            if makes_version(body):
                number += 1
                if raw := getattr(body, "resource", b""):
                    last = number, sealed.meta.recorded, raw
        if last is None:
            return None
        number, recorded, raw = last
        return Version(number, recorded, shown(raw, id, number, recorded))
