"""The event store against `eventsourcing`, on the same PostgreSQL: append, one history, replay of everything.

Both start with event objects of the same content and end with the commit, or start with the database and end with
event objects; neither folds them. Ours: `PostgresJournal.append` and the ledger, with sealed bodies and with plain
Avro in their place. Theirs: `EventStore.put` and `get`, `select_notifications`, with PostgreSQL functions on (its
fastest way), with its JSON transcoder alone and with its compressor (zlib) and cipher (AES-GCM, one key for all).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, product
from typing import Any
from uuid import UUID, uuid4

from bench.events import Event, copy, first
from bench.row import Row, named, versus
from bench.stores import PAGE, SERVICE, Store, stores
from epicrisis.event import replace

COMMANDS = {1: 300, 10: 80, 100: 16}
"""Events per command, and how many commands a turn has."""
WRITERS = (1, 8)
"""Threads that append at the same time, each about subjects of its own; a service has as many as it has messages."""
SUBJECTS = 24
TURNS = 5
AT_MOST = 300
HISTORY, READS = 500, 10
_turns = count(1)
APPEND_GOAL, REPLAY_GOAL = 2.0, 2.0


def run(short: bool = False) -> Iterator[Row]:
    """Rows: append per command size, one history, replay; ours and ours without seal against theirs twice."""
    with stores() as (sealed, unsealed, theirs, ciphered):
        everybody: list[Store] = [sealed, unsealed, theirs, ciphered]
        pairs = [(sealed, theirs), (sealed, ciphered), (unsealed, theirs)]
        peer = named("eventsourcing")
        turns = 1 if short else TURNS
        for writers, (per_command, commands) in product(WRITERS, COMMANDS.items()):
            commands = writers if short else commands * min(writers, 2)
            rates = _append_turns(everybody, per_command, commands, turns, writers)
            at_once = "" if writers == 1 else f" by {writers} writers at once"
            for ours, other in pairs:
                mine = rates[ours]
                yield versus(
                    f"append, {per_command} per command{at_once}, {ours.name}",
                    mine,
                    "events/s",
                    f"{peer}, {other.name}",
                    rates[other],
                    times_goal=APPEND_GOAL,
                    note=f"median of {turns} turns of {commands} commands; "
                    f"{1e3 * per_command / mine:.2f} against {1e3 * per_command / rates[other]:.2f} ms a command",
                )
        length = 20 if short else HISTORY
        subjects = {store: _one_history(store, length) for store in everybody}
        for store in everybody:
            store.settle()
        reads = 2 if short else READS
        took = {store: _median(lambda s=store: s.history(subjects[s]), reads) for store in everybody}  # type: ignore[misc]
        for ours, other in pairs:
            yield versus(
                f"one history of {length} events, {ours.name}",
                1e3 * took[ours],
                "ms",
                f"{peer}, {other.name}",
                1e3 * took[other],
                note=f"read and decoded, not folded; median of {reads}",
            )
        counts = {store: store.replay() for store in everybody}  # also warms the database's cache
        assert len(set(counts.values())) == 1, counts
        took = {store: _median(store.replay, 2 if short else 3) for store in everybody}
        for ours, other in pairs:
            yield versus(
                f"replay of everything, {ours.name}",
                counts[ours] / took[ours],
                "events/s",
                f"{peer}, {other.name}",
                counts[other] / took[other],
                times_goal=REPLAY_GOAL,
                note=f"{counts[ours]:,} events, pages of {PAGE:,}, one process; read and decoded, not folded",
            )


def _append_turns(
    everybody: Sequence[Store], per_command: int, commands: int, turns: int, writers: int
) -> dict[Store, float]:
    """Events per second of each: the median turn."""
    rates: dict[Store, list[float]] = {store: [] for store in everybody}
    subjects = {store: [uuid4() for _ in range(SUBJECTS)] for store in everybody}
    heads = dict.fromkeys((s for some in subjects.values() for s in some), 0)
    with ThreadPoolExecutor(writers) as threads:
        for _ in range(turns + 1):
            for store in everybody:
                todo: list[list[Sequence[Event]]] = [[] for _ in range(writers)]
                for number in range(commands):
                    subject = subjects[store][number % SUBJECTS]
                    todo[number % writers].append(_next_events(subject, heads[subject], per_command))
                    heads[subject] += per_command
                began = time.perf_counter()
                list(threads.map(partial(_append_each, store), todo))
                rates[store].append(commands * per_command / (time.perf_counter() - began))
    return {store: statistics.median(some[1:]) for store, some in rates.items()}  # the first turn warms


def _append_each(store: Store, commands: Sequence[Sequence[Event]]) -> None:
    for events in commands:
        store.append(events)


def _next_events(subject: UUID, head: int, number: int) -> list[Event]:
    """So many events of this subject, behind its first ``head``: the simulation's of the chart, about new resources."""
    bodies = [event for event in first() if event.meta.source == SERVICE]
    made = []
    for seq in range(head + 1, head + number + 1):
        meta, body = copy(bodies[(subject.int + seq) % len(bodies)], next(_turns))
        own = body.resource.replace(str(meta.subject).encode(), str(subject).encode())
        made.append(Event(replace(meta, id=uuid4(), subject=subject, seq=seq), replace(body, resource=own)))
    return made


def _one_history(store: Store, length: int) -> UUID:
    subject = uuid4()
    for head in range(0, length, 20):
        store.append(_next_events(subject, head, 20))
    return subject


def _median(work: Callable[[], Any], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)
