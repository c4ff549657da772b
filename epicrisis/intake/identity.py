"""Names of things: the cluster's ids for what a sender calls by its own, and keyed digests of identifiers."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import count
from typing import Any
from uuid import UUID

from uuid_utils import UUID as FastUUID
from uuid_utils import uuid5

from epicrisis.codec.envelope import uuid_of
from epicrisis.fhir.values import absent

RESOURCES = FastUUID("6f0a2f6e-6a3f-5c57-9b8e-3d2f0c1a7e11")
"""The namespace of resource ids (UUIDv5 of operator, type and the sender's id)."""
MESSAGES = FastUUID("0b9a4c0e-52d4-5a55-8f0c-9d6b1f6a2c22")
"""The namespace of message ids (UUIDv5 of operator, clinic and digest)."""

FROM_QUARANTINE = "quarantine:"
"""How the door of a message begins that was refused at first, kept in quarantine, and sent again from there."""


def resource_id(operator: str, resource_type: str, own_id: str) -> str:
    """The cluster's id of an operator's resource: the same every time it is sent."""
    return str(uuid5(RESOURCES, f"{operator}|{resource_type}/{own_id}"))


def message_id(operator: str, clinic: str, raw: bytes) -> UUID:
    """The id of an inbound message: the same bytes from the same clinic are the same message."""
    return UUID(int=uuid5(MESSAGES, f"{operator}|{clinic}|{sha256(raw).hexdigest()}").int)


def named_message_id(operator: str, door: str, name: str) -> UUID:
    """The id of an inbound message that its door's protocol gives a name.

    What comes in again from quarantine (door ``quarantine:hl7v2``) is the message that it was.
    """
    return UUID(int=uuid5(MESSAGES, f"{operator}|{door.removeprefix(FROM_QUARANTINE)}|{name}").int)


def local_id(message: UUID, index: int) -> str:
    """The id of a resource that its sender gave none: it exists in this message only."""
    return str(uuid5(FastUUID(int=message.int), f"entry/{index}"))


def event_ids(message: UUID, service: str) -> Iterator[UUID]:
    """The ids of a service's events for a message, in order: the same when it is repeated or finished later."""
    namespace = FastUUID(int=message.int)
    return (uuid_of(uuid5(namespace, f"{service}/{index}").bytes) for index in count())


class Digests:
    """Keyed digests: who holds a copy of the index without the key cannot look a person up in it."""

    def __init__(self, key: bytes) -> None:
        own = hmac.new(key, b"epicrisis identifier index v1", sha256).digest()
        self._keyed = hmac.new(own, digestmod=sha256)

    def identifier(self, operator: str, resource_type: str, system: str, value: str) -> bytes:
        """16 bytes for ``system|value``."""
        return self._of(operator, resource_type, "identifier", system, value)

    def own_id(self, operator: str, resource_type: str, own_id: str) -> bytes:
        """16 bytes for the sender's own ``Type/id``."""
        return self._of(operator, resource_type, "id", own_id)

    def identifiers_of(self, operator: str, resource_type: str, resource: Any) -> list[bytes]:
        """The digests of a resource's identifiers; temporary ones identify nobody."""
        return [self.identifier(operator, resource_type, *pair) for pair in identifiers(resource)]

    def _of(self, *parts: str) -> bytes:
        digest = self._keyed.copy()  # to begin with the key anew takes three times as long
        digest.update("\x1f".join(parts).encode())
        return digest.digest()[:16]


def identifiers(resource: Any) -> Iterable[tuple[str, str]]:
    """``(system, value)`` of each identifier that has both and is not temporary."""
    found = getattr(resource, "identifier", None)
    if absent(found) or found is None:
        return
    for identifier in found if isinstance(found, list) else [found]:
        if identifier is None or absent(identifier.system) or absent(identifier.value) or identifier.use == "temp":
            continue
        yield identifier.system, identifier.value
