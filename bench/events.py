"""The input that anyone can make: events of the simulated cluster, through the real gate, deciders and codec.

The simulation's first patients are taken in once, in memory; more events are copies of these with other ids, so that
any number costs little and no two subjects, streams or resources are the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from epicrisis import relay, simulate
from epicrisis.assembly import codec
from epicrisis.codec import DataKey, KeyStore, MemoryKeyStore
from epicrisis.event import Meta, fields_of, replace
from epicrisis.found import services
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests
from epicrisis.intake.memory import MemoryInbox
from epicrisis.journal import Append, MemoryJournal, NewEvent
from epicrisis.journal.outgoing import Row
from epicrisis.producing import Batch, Producer
from epicrisis.settings import Settings
from epicrisis.slices import slice_of

PATIENTS = 60
"""Simulated patients that the copies are made from: some 4,000 events."""
FEW = 1_000
"""Where no more events are wanted, fewer patients do."""

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)

_FIRST_DIGITS = re.compile(rb"[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")


class Event(NamedTuple):
    """An event in the clear."""

    meta: Meta
    body: Any


@cache
def first(patients: int = PATIENTS) -> tuple[Event, ...]:
    """The events of the first patients, in the order in which they were recorded."""
    keys = MemoryKeyStore()
    journals = {name: MemoryJournal(name) for name in services()}
    taker = Intake(
        services=services(),
        journals=journals,
        inbox=MemoryInbox(),
        codec=codec(),
        keys=keys,
        digests=Digests(bytes(32)),
        clock=(BEGIN + timedelta(seconds=n) for n in count()).__next__,
    )
    found: list[Event] = []
    for message in simulate.messages(patients=patients, seed=1):
        taker.receive(message.bundle, operator=message.operator, clinic=message.clinic, door="bench")
    for journal in journals.values():
        for _, (*_, value) in journal.log:
            sealed = codec().open(value)
            assert sealed.meta.key is not None
            found.append(Event(sealed.meta, codec().unseal(sealed, keys.by_ids([sealed.meta.key])[sealed.meta.key])))
    return tuple(sorted(found, key=lambda event: event.meta.recorded))


def events(number: int) -> Iterator[Event]:
    """So many events: the first ones, then copies of whole rounds of them under other ids."""
    originals, made, turn = first(PATIENTS if number > FEW else 4), 0, 0
    while made < number:
        for event in originals[: number - made]:
            yield event if turn == 0 else copy(event, turn)
        made += min(len(originals), number - made)
        turn += 1


def copy(event: Event, turn: int) -> Event:
    """The same event under other ids: its own, its subject's, and all that its body and resource name."""

    def shifted(text: str) -> str:
        return other_ids(text.encode(), turn).decode()

    meta, body = event
    changed: dict[str, Any] = {}
    for name in fields_of(type(body)):
        value = getattr(body, name)
        if isinstance(value, bytes):
            changed[name] = other_ids(value, turn)
        elif isinstance(value, str) and name.endswith("_id"):
            changed[name] = shifted(value)
    moved = {name: UUID(shifted(str(getattr(meta, name)))) for name in ("id", "subject", "message")}
    return Event(replace(meta, **moved, stream=shifted(meta.stream)), replace(body, **changed))


def other_ids(raw: bytes, turn: int) -> bytes:
    """The same text with another UUID, of the same length, for each that it holds; the same ones each time."""
    return _FIRST_DIGITS.sub(lambda found: b"%08x" % (int(found[0], 16) + turn * 0x9E3779B1 & 0xFFFFFFFF), raw)


def value_of(event: Event, keys: dict[UUID, DataKey]) -> bytes:
    """The sealed record value."""
    return codec().encode(event.meta, event.body, keys[event.meta.subject])


def keys_for(some: Sequence[Event], store: KeyStore) -> dict[UUID, DataKey]:
    """The keys of all their subjects."""
    return store.for_subjects({e.meta.subject for e in some})


def row_of(meta: Meta, value: bytes) -> Row:
    """The event as a relay reads it from its journal."""
    return Row(slice_of(meta.subject), 0, meta.seq, meta.recorded, meta.subject, meta.id, meta.type, value)


def send(log: Producer, settings: Settings, meta: Meta, value: bytes) -> Batch:
    """Into the log, as the relay does."""
    return relay.send(log, settings.topic(), settings.partitions, meta.source, row_of(meta, value))


def appends(some: Sequence[Event], values: Sequence[bytes]) -> dict[str, list[Append]]:
    """By service: every subject's events as one append each."""
    runs: dict[tuple[str, UUID], list[NewEvent]] = defaultdict(list)
    for (meta, _), value in zip(some, values, strict=True):
        recorded: datetime = meta.recorded
        runs[meta.source, meta.subject].append(NewEvent(meta.id, meta.seq, meta.stream, meta.type, recorded, value))
    made: dict[str, list[Append]] = defaultdict(list)
    for (source, subject), run in runs.items():
        made[source].append(Append(subject, run[0].seq - 1, run))
    return made
