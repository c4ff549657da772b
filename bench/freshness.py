"""Freshness under load: commit to readable in every read model and the ledger, at steady rates.

Several senders, each with patients of its own, take simulated messages in at the rate asked for. Every append is
watched until each consumer's position has passed its events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from bench.row import Row
from bench.stage import roles, stage
from epicrisis.assembly import intake
from epicrisis.database import Database
from epicrisis.intake import Intake
from epicrisis.journal import Append, Appended
from epicrisis.lag import Lag
from epicrisis.ledger import LEDGER
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.settings import Settings
from epicrisis.simulate.directory import directory
from epicrisis.simulate.letter import Message
from epicrisis.simulate.run import BEGIN, live
from epicrisis.simulate.world import world

RATES = (50, 200, 500)
SECONDS = 12
SENDERS = 6
LOOK_SECONDS = 0.005
SEED = 1
LATE_SECONDS = 30
EVENTS_PER_PATIENT = 20
"""Fewer than a simulated patient has: so that the senders do not run out."""


def run(short: bool = False) -> Iterator[Row]:
    """Rows: p50 and p99 for each rate; the note says which rate was reached."""
    with stage(own=False) as settings, roles(settings, ("relay",), ("work",)):
        takers = [intake(settings) for _ in range(2 if short else SENDERS)]
        for message in directory(world(SEED), SEED, BEGIN):
            take(takers[0], message)
        lag = Lag(settings)
        lag.wait(60, [LEDGER])
        watch = Watch(settings, lag.current())
        for taker in takers:
            watch.watched(taker)
        first = 1
        for rate in (50,) if short else RATES:
            seconds = 1 if short else SECONDS
            patients = max(len(takers), rate * seconds // EVENTS_PER_PATIENT)
            yield from _at(rate, seconds, takers, range(first, first + patients), watch)
            first += patients
        watch.close()
        lag.close()


def _at(rate: int, seconds: int, takers: Sequence[Intake], patients: range, watch: Watch) -> Iterator[Row]:
    senders = [
        Sender(taker, rate / len(takers), seconds, _messages(patients[n :: len(takers)]))
        for n, taker in enumerate(takers)
    ]
    watch.waits.clear()
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        watch.look()
        time.sleep(LOOK_SECONDS)
    deadline = time.monotonic() + LATE_SECONDS
    while watch.waiting and time.monotonic() < deadline:
        watch.look()
        time.sleep(LOOK_SECONDS)
    for sender in senders:
        if sender.error is not None:
            raise sender.error
    events = sum(sender.events for sender in senders)
    reached = sum(sender.events / sender.seconds for sender in senders)
    waits = sorted(watch.waits)
    note = f"{events} events in {len(waits)} appends by {len(senders)} senders, {reached:.0f} events/s reached"
    if watch.waiting:
        note += f"; {len(watch.waiting)} were not readable after {LATE_SECONDS} s"
    for name, share, goal in (("p50", 0.5, None), ("p99", 0.99, -500)):
        yield {
            "row": f"commit to readable at {rate} events/s, {name}",
            "value": 1000 * waits[int(len(waits) * share)],
            "unit": "ms",
            "goal": goal,
            "note": note,
            "series": name,
            "at": rate,
            "at_unit": "events/s",
        }


def _messages(patients: Sequence[int]) -> list[Message]:
    """Everything that was sent about these patients, in order."""
    cluster = world(SEED)
    return sorted((m for n in patients for m in live(cluster, SEED, n).messages), key=lambda message: message.sent)


def take(taker: Intake, message: Message) -> int:
    """How many new events came of it."""
    receipt = taker.receive(message.bundle, operator=message.operator, clinic=message.clinic, door="bench")
    return 0 if receipt.repeated else receipt.total


class Sender(threading.Thread):
    """Sends its messages at its share of the rate, measured from its own begin."""

    def __init__(self, taker: Intake, rate: float, seconds: int, messages: Sequence[Message]) -> None:
        super().__init__(daemon=True)
        self._taker, self._rate, self._limit, self._messages = taker, rate, seconds, messages
        self.events = 0
        self.seconds = 0.0
        self.error: Exception | None = None

    def run(self) -> None:
        began = time.monotonic()
        try:
            for message in self._messages:
                self.events += take(self._taker, message)
                self.seconds = time.monotonic() - began
                if self.seconds >= self._limit:
                    break
                time.sleep(max(0.0, self.events / self._rate - self.seconds))
        except Exception as error:
            self.error = error
        self.seconds = max(time.monotonic() - began, self.events / self._rate)


class Watch:
    """Notes each append at its commit, and how long it takes until every consumer has applied it."""

    def __init__(self, settings: Settings, consumers: Sequence[str]) -> None:
        self._database = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
        self._store = PostgresStore(self._database)
        self._consumers = consumers
        self._lock = threading.Lock()
        self.waiting: list[tuple[UUID, str, int, float]] = []
        self.waits: list[float] = []

    def watched(self, taker: Intake) -> None:
        """From now on see what this intake appends."""
        for journal in taker._journals.values():
            journal.append = self._noting(journal.name, journal.append)  # type: ignore[method-assign]

    def _noting(self, name: str, append: Any) -> Any:
        def noted(appends: Sequence[Append], *more: Any, **named: Any) -> Appended:
            done: Appended = append(appends, *more, **named)
            now = time.monotonic()
            if not done.repeated:
                with self._lock:
                    self.waiting += [(a.subject, name, a.expected + len(a.events), now) for a in appends if a.events]
            return done

        return noted

    def look(self) -> None:
        """Take the time of those that are readable now."""
        with self._lock:
            waiting = list(self.waiting)
        if not waiting:
            return
        with self._store.transaction() as at:
            positions = at.positions(self._consumers, {subject for subject, *_ in waiting})
        now, nothing = time.monotonic(), dict[str, int]()
        arrived = {
            one
            for one in waiting
            if all(positions.get((name, one[0]), nothing).get(one[1], 0) >= one[2] for name in self._consumers)
        }
        with self._lock:
            self.waiting = [one for one in self.waiting if one not in arrived]
        self.waits += [now - one[3] for one in arrived]

    def close(self) -> None:
        """Give the connection back."""
        self._database.close()
