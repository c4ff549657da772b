"""The newest version of a resource straight from the journals: right after it was written, as it will be read later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from epicrisis.codec import Codec, KeyStore
from epicrisis.decider import Service
from epicrisis.doors.fhir_http.bundles import shown
from epicrisis.errors import KeyLost
from epicrisis.event import makes_version
from epicrisis.journal import Journal, Stored

_RETRACTED = ("Retracted", "EnteredInError")
"""How the events are called that nothing follows."""


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
        found = [version for events in self._streams(resource_type, id) if (version := self._newest(events, id))]
        return max(found, key=lambda version: version.recorded, default=None)

    def is_retracted(self, resource_type: str, id: str) -> bool:
        """Whether it was entered in error, and is not to be changed any more."""
        last = [self._codec.open(events[-1].value).meta for events in self._streams(resource_type, id)]
        return any(meta.type.endswith(_RETRACTED) for meta in last)

    def _streams(self, resource_type: str, id: str) -> Iterator[Sequence[Stored]]:
        """The events of a resource, per service that has kept it."""
        stream = f"{resource_type}/{id}"
        for service in self._services.values():
            if service.may_keep(resource_type):
                journal = self._journals[service.name]
                for subject in journal.known([stream]).values():
                    yield journal.load({subject: [stream]})[subject].streams[stream]

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
