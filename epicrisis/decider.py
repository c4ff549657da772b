"""The decider: how a service turns a command into events, and the shape of a service.

A service is a folder ``services/<context>/`` with three files: ``decider.py`` holds ``decide``, ``evolve``
and ``initial`` (pure: no clock, no identity, no I/O); ``fhir.py`` says which resources the service accepts and
reads commands off them; ``__init__.py`` declares ``service = Service(...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

import msgspec

from epicrisis.access.api import Access, Glass
from epicrisis.fhir.codes import Reading


class To(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A command for one stream of the inbound resource's subject.

    ``effective`` is when it was true; None means "when it was recorded". ``keeps`` says that the service keeps the
    resource's bytes in one of its events; a reader that only takes a fact (staging from an Observation) leaves the
    keeping to ``chart``. ``shared_with`` names a clinic that may write about the subject from now on.
    """

    stream: str
    command: Any
    effective: datetime | None = None
    keeps: bool = True
    shared_with: str | None = None


class Inbound(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One resource that passed the gate, as a service's reader sees it.

    ``resource`` is the gate's parsed object (attributes are FHIR element names, absent ones ``msgspec.UNSET``);
    ``raw`` its bytes with ids' references already resolved, to be kept byte for byte. ``resolve`` turns a
    reference of the resource (``urn:uuid:…``, ``Condition/1``) into the cluster's (``Condition/<uuid>``); a
    reference that cannot be resolved has been refused before any reader is called. ``method`` is POST, PUT or
    DELETE (= entered in error). ``clinic`` is ``operator/site``. ``found_by`` says how an identified resource was
    recognised: ``id`` (the sender's own), ``identifier``, or ``new``. ``codes`` reads coded elements as facts, by the
    operator's code map.
    """

    resource_type: str
    resource_id: str
    resource: Any
    raw: bytes
    method: str
    subject: UUID
    operator: str
    clinic: str
    now: datetime
    resolve: Callable[[str], str]
    found_by: str = "new"
    codes: Reading = Reading()

    @property
    def stream(self) -> str:
        """The stream that the resource itself is: ``Condition/<id>``."""
        return f"{self.resource_type}/{self.resource_id}"


Reader = Callable[[Inbound], Sequence[To]]
"""Reads commands off a resource. None of them: the resource is not for this service."""


class Decide(Protocol):
    def __call__(self, command: Any, state: Any, /) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A bounded context: its decider and the FHIR resources it reads.

    ``sometimes`` names the resource types of which it keeps those alone that are its business: the fallback has the
    others, and one may change hands. ``fallback`` is the reader of the one service that keeps every resource that
    nobody else kept. ``identifies`` names the resource types whose identifiers the service indexes, so that the same
    person (or practitioner, ...) sent again is the same subject and conditional references can be resolved. ``share``
    makes the command that lets another clinic write about a subject. ``records`` and ``breaks`` make those that record
    an access, and what is done to a break-glass: of the one service that does.
    """

    name: str
    decide: Decide
    evolve: Callable[[Any, Any], Any]
    initial: Callable[[], Any]
    reads: Mapping[str, Reader]
    sometimes: frozenset[str] = frozenset()
    fallback: Reader | None = None
    identifies: frozenset[str] = frozenset()
    share: Callable[[UUID, str], To] | None = None
    records: Callable[[Access], To] | None = None
    breaks: Callable[[Glass], To] | None = None

    def may_keep(self, resource_type: str) -> bool:
        """Whether it may keep resources of this type."""
        return resource_type in self.reads or self.fallback is not None

    @property
    def takes(self) -> bool:
        """Whether messages can be for it: not for the one that records accesses."""
        return bool(self.reads) or self.fallback is not None


def fold(evolve: Callable[[Any, Any], Any], state: Any, events: Sequence[Any]) -> Any:
    """The state after these events."""
    for body in events:
        state = evolve(state, body)
    return state


def digest(resource: bytes) -> bytes:
    """What tells one version's bytes from another's: 16 bytes."""
    return sha256(resource).digest()[:16]


def operator_of(clinic: str) -> str:
    """The operator of a clinic (``operator/site``)."""
    return clinic.partition("/")[0]
