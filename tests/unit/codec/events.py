"""Hypothesis strategies and helpers for the codec's tests."""

from __future__ import annotations

import types
import typing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from epicrisis.codec import Catalogue, Codec, DataKey, Dictionaries, MemoryKeyStore
from epicrisis.event import Meta, fields_of

SUBJECT = UUID("0193f0f0-0000-7000-8000-00000000005b")
NOW = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
moments = st.datetimes(timezones=st.just(UTC))
longs = st.integers(-(2**63), 2**63 - 1)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field of the published language."""
    simple = {
        str: text,
        bytes: st.binary(max_size=400),
        int: longs,
        bool: st.booleans(),
        float: st.floats(),
        datetime: moments,
    }
    if kind in simple:
        return simple[kind].filter(lambda value: value == value)  # a NaN is equal to nothing
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        inner = next(arm for arm in typing.get_args(kind) if arm is not type(None))
        return st.none() | values(inner)
    if typing.get_origin(kind) is tuple:
        return st.lists(values(typing.get_args(kind)[0]), max_size=3).map(tuple)
    return objects(kind)


def objects(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any object of an event class or of a nested value class."""
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{name: values(hints[name]) for name in fields_of(cls)})


metas = st.builds(
    Meta,
    id=st.uuids(),
    type=text,
    version=st.integers(1, 2**31),
    source=text,
    operator=text,
    clinic=text,
    subject=st.uuids(),
    seq=longs,
    stream=text,
    effective=moments,
    recorded=moments,
    message=st.none() | st.uuids(),
    correlation=st.none() | st.uuids(),
    causation=st.none() | st.uuids(),
    key=st.uuids(),
)


def meta_of(body: Any, **other: Any) -> Meta:
    """An envelope for a body."""
    cls = type(body)
    about: dict[str, Any] = {
        "id": UUID("0193f0f0-0000-7000-8000-000000000001"),
        "type": cls.__event_type__,
        "version": cls.__event_version__,
        "source": cls.__event_type__.partition(".")[0],
        "operator": "charite",
        "clinic": "charite/onco",
        "subject": SUBJECT,
        "seq": 7,
        "stream": "Observation/0193f0f0-0000-7000-8000-0000000000aa",
        "effective": NOW,
        "recorded": NOW,
    }
    return Meta(**(about | other))


def codec() -> Codec:
    """The codec of this release."""
    return Codec(Catalogue.load(), Dictionaries.load())


def data_key(subject: UUID = SUBJECT) -> DataKey:
    """A new key of a subject."""
    return MemoryKeyStore().for_subjects([subject])[subject]
