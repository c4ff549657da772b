"""Who calls and what it may: SMART's scopes of a system, ``system/<Type>.cruds``.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from epicrisis.access import api
from epicrisis.fhir.spec import types

LETTERS = "cruds"
"""create, read, update, delete, search: in this order in every scope."""
EVERY = "*"

_SCOPE = re.compile(r"system/(\*|[A-Z][A-Za-z]{1,63})\.(c?r?u?d?s?|read|write|\*)\Z").match
_OLD = {"read": "rs", "write": "cud", EVERY: LETTERS}
"""The words of SMART 1."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be done with resources of a type (or of ``*``, all): some of `LETTERS`."""

    resource_type: str
    letters: str

    def __str__(self) -> str:
        return f"system/{self.resource_type}.{self.letters}"

    def both(self, other: Scope) -> Scope | None:
        """What this one and another one allow."""
        if EVERY not in (self.resource_type, other.resource_type) and self.resource_type != other.resource_type:
            return None
        letters = "".join(letter for letter in self.letters if letter in other.letters)
        kind = other.resource_type if self.resource_type == EVERY else self.resource_type
        return Scope(kind, letters) if letters else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A broken glass: the one patient whom the caller may read though its clinic does not know them, until then."""

    id: UUID
    patient: UUID
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client of an operator, writing for one of its clinics (``operator/site``): all of it from its credentials.

    ``user`` (an id, no name) and ``purpose`` (a code of v3-ActReason) are what the client says of who uses it, and why.
    """

    client: str
    operator: str
    clinic: str
    scopes: tuple[Scope, ...]
    user: str = ""
    purpose: str = ""
    opened: Opened | None = None

    def may(self, resource_type: str, letter: str) -> bool:
        """Whether it may create (``c``), read, update, delete or search resources of a type."""
        return any(letter in s.letters and s.resource_type in (EVERY, resource_type) for s in self.scopes)

    def who(self, *, reason: str = "", address: str = "") -> api.Caller:
        """Who it is, as accesses name it."""
        return api.Caller(
            operator=self.operator,
            clinic=self.clinic,
            client=self.client,
            user=self.user,
            purpose=self.purpose,
            reason=reason,
            address=address,
        )


def scopes(words: str) -> tuple[Scope, ...]:
    """The scopes in a text, those that are not a system's left out."""
    found = (_SCOPE(word) for word in words.split())
    read = (Scope(match[1], _OLD.get(match[2], match[2])) for match in found if match)
    return tuple(scope for scope in read if scope.letters)


def granted(asked: Iterable[Scope], allowed: Iterable[Scope]) -> tuple[Scope, ...]:
    """What is asked for and allowed."""
    allowed = tuple(allowed)
    both = (one.both(other) for one in asked for other in allowed)
    return tuple(dict.fromkeys(scope for scope in both if scope))


def is_resource_type(name: str) -> bool:
    """Whether FHIR R4 knows a resource of this name."""
    kind = types().get(name)
    return kind is not None and kind.resource
