"""Replay: one subject's history from the ledger, as it stood at a moment, through the same functions as live."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from epicrisis.codec import Codec, KeyStore
from epicrisis.errors import Poison
from epicrisis.event import Meta
from epicrisis.ledger import Entry
from epicrisis.projection import Projection, fold


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One event of a history. ``body`` is None where its key is gone."""

    n: int
    meta: Meta
    body: Any


def facts(entries: Sequence[Entry], codec: Codec, keys: KeyStore, as_of: datetime | None = None) -> Iterator[Fact]:
    """The events that were recorded up to ``as_of`` (all of them by default), in log order."""
    opened = [(entry.n, codec.open(entry.value)) for entry in entries]
    found = keys.by_ids({sealed.meta.key for _, sealed in opened if sealed.meta.key is not None})
    for n, sealed in opened:
        if as_of is not None and sealed.meta.recorded > as_of:
            continue
        key = found.get(sealed.meta.key) if sealed.meta.key else None
        try:
            body = None if key is None else codec.unseal(sealed, key)
        except Poison:
            body = None
        yield Fact(n, sealed.meta, body)


def through(projection: Projection, history: Iterator[Fact]) -> Mapping[str, list[Any]]:
    """The rows of a projection after this history, by table."""
    return fold(projection, ((fact.body, fact.meta) for fact in history if fact.body is not None))


def timeline(history: Iterator[Fact]) -> Iterator[dict[str, Any]]:
    """A row per event, for people: when, who, what."""
    for fact in history:
        meta = fact.meta
        yield {
            "n": fact.n,
            "effective": meta.effective,
            "recorded": meta.recorded,
            "clinic": meta.clinic,
            "event": meta.type,
            "stream": meta.stream,
            "what": "(erased)" if fact.body is None else summary(fact.body),
            "id": meta.id,
            "seq": meta.seq,
        }


def summary(body: Any) -> str:
    """The facts of a body in one line: displays of codes, and short texts; never the resource."""
    said: list[str] = []
    for field in dataclasses.fields(body):
        value = getattr(body, field.name)
        if field.name.endswith(("_id", "resource")) or field.name in ("resource_type", "code_system"):
            continue
        for one in value if isinstance(value, tuple) else (value,):
            text = (one.display or one.code) if hasattr(one, "display") else one
            if isinstance(text, str) and text and text not in said:
                said.append(text)
    return " · ".join(said)


def subject_of(text: str) -> UUID:
    """A subject as people write it: the UUID, or ``Patient/<uuid>``.

    Raises
    ------
    ValueError
        It is neither.
    """
    return UUID(text.rsplit("/", 1)[-1])
