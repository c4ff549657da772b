"""Replay: one subject's history from the ledger, as it stood at a moment, through the same functions as live."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from epicrisis.codec import Codec, KeyStore
from epicrisis.errors import Poison, Refused
from epicrisis.event import Meta, fields_of
from epicrisis.ledger import Entry
from epicrisis.projection import Projection, fold

ERASED = "erased"
"""Its key is gone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One event of a history, its facts only. Where ``body`` is None, ``unreadable`` says why: a code, or `ERASED`."""

    n: int
    meta: Meta
    body: Any
    unreadable: str = ""


def facts(entries: Sequence[Entry], codec: Codec, keys: KeyStore, as_of: datetime | None = None) -> Iterator[Fact]:
    """The events that were recorded up to ``as_of`` (all of them by default), in log order."""
    opened = [(entry.n, codec.open(entry.value)) for entry in entries]
    found = keys.by_ids({sealed.meta.key for _, sealed in opened if sealed.meta.key is not None})
    for n, sealed in opened:
        if as_of is not None and sealed.meta.recorded > as_of:
            continue
        key = found.get(sealed.meta.key) if sealed.meta.key else None
        if key is None:
            yield Fact(n, sealed.meta, None, ERASED)
            continue
        try:
            yield Fact(n, sealed.meta, codec.unseal(sealed, key, facts=True))
        except Poison as problem:
            yield Fact(n, sealed.meta, None, problem.reason)


def through(projection: Projection, history: Iterable[Fact]) -> Mapping[str, list[Any]]:
    """The rows of a projection after this history, by table. Erased events are left out.

    Raises
    ------
    Refused
        An event that these rows rest on cannot be read, though its key is there.
    """
    return fold(projection, _readable(projection, history))


def _readable(projection: Projection, history: Iterable[Fact]) -> Iterator[tuple[Any, Meta]]:
    for fact in history:
        if fact.unreadable in ("", ERASED):
            if fact.body is not None:
                yield fact.body, fact.meta
        elif projection.touches(fact.meta.type):
            raise Refused(
                f"event {fact.n} of this history ({fact.meta.type}) cannot be read: {fact.unreadable}. Without it the "
                "rows would be wrong: see the timeline (without --through), and replay with a release that can read it"
            )


def timeline(history: Iterable[Fact]) -> Iterator[dict[str, Any]]:
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
            "what": _what(fact),
            "id": meta.id,
            "seq": meta.seq,
        }


def _what(fact: Fact) -> str:
    if fact.unreadable == ERASED:
        return "(erased)"
    return f"(cannot be read: {fact.unreadable})" if fact.unreadable else summary(fact.body)


def summary(body: Any) -> str:
    """The facts of a body in one line: displays of codes, and short texts; never the resource."""
    said: list[str] = []
    for name in fields_of(type(body)):
        value = getattr(body, name)
        if name.endswith(("_id", "resource")) or name in ("resource_type", "code_system"):
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
