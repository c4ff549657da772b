"""The event: an immutable fact about one subject.

A body is a class in ``schemas/<context>/``, marked with ``@event``. What every event has in common (who, when, where in
its history) is its `Meta`, which travels in the envelope. Bodies, the values in them and the rows of read models are
made alike: immutable records, built and changed in C (millions of them pass by).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform
from uuid import UUID

import msgspec

SLICES = 1024
"""Into how many slices all subjects fall, for ever: the partition count divides it."""

T = TypeVar("T")


NOTHING = msgspec.NODEFAULT
"""The default of a field that has none."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
def record(cls: type[T]) -> type[T]:
    """A class of annotated fields as an immutable, keyword-only record, comparable and small.

    The result is a msgspec Struct without garbage collection: a record never leads back to itself.
    """
    body = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    options = {"frozen": True, "kw_only": True, "gc": False}
    made: Any = types.new_class(cls.__name__, (msgspec.Struct,), options, lambda namespace: namespace.update(body))
    return made  # type: ignore[no-any-return]


def fields_of(kind: type[Any]) -> tuple[str, ...]:
    """The names of a record's fields, in order."""
    return kind.__struct_fields__  # type: ignore[no-any-return]


def default_of(kind: type[Any], name: str) -> Any:
    """A field's default, `NOTHING` where it has none."""
    defaults: Mapping[str, Any] = dict(
        zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False)
    )
    return defaults.get(name, NOTHING)


def is_record(kind: Any) -> bool:
    """Whether this is the class of a record."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


if TYPE_CHECKING:

    def replace(one: T, /, **changes: Any) -> T:
        """The same record with other values in some of its fields."""
else:
    replace = msgspec.structs.replace


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
def event(*, version: int = 1) -> Callable[[type[T]], type[T]]:
    """Mark a class as an event body: an immutable record with a type and a version.

    The type is ``<context>.<ClassName>``, the context being the module's last name: it is what is stored,
    so a class may move but never be renamed.
    """

    def mark(cls: type[T]) -> type[T]:
        made: Any = record(cls)
        made.__event_type__ = f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"
        made.__event_version__ = version
        return made  # type: ignore[no-any-return]

    return mark


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
def value(cls: type[T]) -> type[T]:
    """Mark a class as a part of event bodies: an immutable record without a type of its own."""
    return record(cls)


def event_type(body: object) -> str:
    """The stored type of an event body or of its class: ``diagnosis.DiagnosisConfirmed``."""
    return body.__event_type__  # type: ignore[attr-defined, no-any-return]


def event_version(body: object) -> int:
    """The version of the body's schema, from 1 upwards."""
    return body.__event_version__  # type: ignore[attr-defined, no-any-return]


def makes_version(body: Any) -> bool:
    """Whether an event makes another version of its resource: it brings the resource, or retracts it."""
    return bool(getattr(body, "resource", b"")) or hasattr(body, "resource_version")


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
