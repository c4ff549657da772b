"""The event: an immutable fact about one subject.

A body is a frozen, keyword-only dataclass in ``schemas/<context>/``, marked with ``@event``. What every
event has in common (who, when, where in its history) is its `Meta`, which travels in the envelope.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, dataclass_transform
from uuid import UUID

import msgspec

SLICES = 1024
"""Into how many slices all subjects fall, for ever: the partition count divides it."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(*, version: int = 1) -> Callable[[type[T]], type[T]]:
    """Mark a class as an event body: a frozen, keyword-only, slotted dataclass with a type and a version.

    The type is ``<context>.<ClassName>``, the context being the module's last name: it is what is stored,
    so a class may move but never be renamed.
    """

    def mark(cls: type[T]) -> type[T]:
        made: Any = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
        made.__event_type__ = f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"
        made.__event_version__ = version
        return made  # type: ignore[no-any-return]

    return mark


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(cls: type[T]) -> type[T]:
    """Mark a class as a part of event bodies (a nested record): a frozen, keyword-only, slotted dataclass."""
    return dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)


def event_type(body: object) -> str:
    """The stored type of an event body or of its class: ``diagnosis.DiagnosisConfirmed``."""
    return body.__event_type__  # type: ignore[attr-defined, no-any-return]


def event_version(body: object) -> int:
    """The version of the body's schema, from 1 upwards."""
    return body.__event_version__  # type: ignore[attr-defined, no-any-return]


class Meta(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The envelope without the body: what every event says about itself, free of clinical words.

    ``seq`` counts a subject's events within one service, from 1, without gaps. ``stream`` is the entity
    within the subject (``Condition/<id>``). ``clinic`` is ``operator/site``. ``effective`` is when it was
    true, ``recorded`` when we knew; both are aware, in UTC, to the microsecond.
    """

    id: UUID
    type: str
    version: int
    source: str
    operator: str
    clinic: str
    subject: UUID
    seq: int
    stream: str
    effective: datetime
    recorded: datetime
    message: UUID | None = None
    correlation: UUID | None = None
    causation: UUID | None = None
    key: UUID | None = None
