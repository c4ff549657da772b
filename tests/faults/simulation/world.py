"""One simulated cluster: the production code of every role, on servers in memory, from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from uuid import UUID

import psycopg

from epicrisis.errors import EpicrisisError, Refused, Unreachable
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests, message_id
from epicrisis.journal import Append
from epicrisis.ledger import LedgerFollower
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Consumer as Follower
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.parking import retry_one
from epicrisis.projecting.positions import GAP
from epicrisis.projecting.store import Parked
from epicrisis.relay import PRODUCER, Pump
from epicrisis.serve import RECOVER_SECONDS
from epicrisis.settings import Settings
from epicrisis.worker import CONSUMER, Worker
from tests.faults.simulation import model
from tests.faults.simulation.checks import Truth, must
from tests.faults.simulation.schedule import Process, Schedule, Seen, Signal, Threads, Violation
from tests.faults.simulation.servers import Inbox, Journal, Outgoing, Store
from tests.faults.simulation.topic import Consumer, Log, Producer

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
IDLE_STRETCH = 100.0
"""Idle relays look this much more seldom than real ones: most of a seed's turns would be theirs."""
MOST_STEPS = 20_000
"""A world that does not come to rest within so many turns after the last fault never will."""
MISHAP_STEPS = 10


@cache
def settings() -> Settings:
    return Settings(kafka_bootstrap="nowhere:1", dsns={"cluster": "host=nowhere"}, namespace="sim")


class World:
    """Servers, processes, and what was promised to whom."""

    def __init__(
        self,
        chance: Random,
        rates: dict[str, float] | None = None,
        *,
        partitions: int = 2,
        relays: int = 2,
        workers: int = 2,
        wakes: bool = False,
        trace: list[str] | None = None,
    ) -> None:
        self.chance = chance
        self.schedule = Schedule(chance, rates)
        self.schedule.trace = trace
        self.truth, self.models = Truth(), model.Models()
        self.garbage = 0
        self.refused: set[UUID] = set()
        self.older: list[Process] = []
        self.resting = False
        self.wakes = wakes
        self._news: dict[str, list[Signal]] = {name: [] for name in model.SERVICES}
        self._serve(partitions)
        self._begin(relays, workers)

    def _serve(self, partitions: int) -> None:
        schedule, truth = self.schedule, self.truth
        self.log = Log(schedule, settings().topic(), partitions)
        self.store = Store(schedule)
        self.store.refuses = self.models.refuses
        self.store.on_commit = truth.committed
        self.inbox = Inbox(schedule)
        self.journals = {name: Journal(name, schedule) for name in model.SERVICES}
        self.outgoing = {name: Outgoing(journal) for name, journal in self.journals.items()}
        for journal in self.journals.values():
            journal.on_append = self._appended
        for one in self.outgoing.values():
            one.on_move = lambda *moved: truth.cursors_moved(self.log, *moved)
        self.followers: list[Follower] = [LedgerFollower(), *map(ProjectionFollower, self.models.all)]

    def _appended(self, journal: Journal, appends: Sequence[Append], pos: int) -> None:
        self.truth.appended(self.outgoing, journal, appends, pos)
        for news in self._news[journal.name]:
            news.set()

    def _begin(self, relays: int, workers: int) -> None:
        start = self.schedule.start
        for n in range(relays):
            for name in model.SERVICES:
                start(f"relay {n} {name}", self._relay(UUID(int=n + 1), name))
        for n in range(workers):
            start(f"worker {n}", self._work)
        start("recovery", self._recover)
        start("operator", self._operate)

    # The roles, as their processes run them

    def _relay(self, owner: UUID, name: str) -> Callable[[], None]:
        def main() -> None:
            life = UUID(int=owner.int + (self.schedule.steps << 8))
            pump = Pump(
                name,
                self.outgoing[name],
                self.log.topic,
                len(self.log.partitions),
                lambda: Producer(self.log, PRODUCER),
                owner=life,
                clock=self._clock,
            )
            news = Signal(self.schedule, IDLE_STRETCH)
            if self.wakes:
                self._news[name].append(news)
            pump.run(Signal(self.schedule), news)

        return main

    def _work(self) -> None:
        process = self.schedule.current
        assert process is not None
        followers = self.followers
        if not self.resting and process.lives == 1 and self.chance.random() < 0.2:
            followers = self.followers[:-1]  # a release that lacks a projection, until it is replaced
            self.older.append(process)
        Worker(
            settings(),
            followers,
            store=self.store,
            decoder=Decoder(model.plain_codec(), model.PlainKeys(), followers),
            missing=self._missing,
            connect=lambda: Consumer(self.log, "worker", CONSUMER),
            stop=Signal(self.schedule),
            clock=self._clock,
            applier=Threads(self.schedule),
        ).run()

    def _recover(self) -> None:
        intake = self._intake()
        while True:
            try:
                intake.recover()
            except (psycopg.Error, EpicrisisError) as error:
                self.schedule.say(f"recovery waits: {error!r}")
            self.schedule.sleep(RECOVER_SECONDS)

    def _operate(self) -> None:
        """Looks after parked subjects, now and then; gaps the workers heal themselves."""
        decoder = self._decoder()
        while True:
            self.schedule.sleep(self.chance.choice((1.0, 5.0, 20.0)))
            for consumer, subject in self._failed():
                follower = next(f for f in self.followers if f.name == consumer)
                try:
                    retry_one(self.store, follower, subject, decoder, self._missing)
                except (psycopg.Error, EpicrisisError) as error:
                    self.schedule.say(f"retry failed: {error!r}")

    def _failed(self) -> list[tuple[str, UUID]]:
        queues: dict[tuple[str, UUID], list[Parked]] = {}
        for name, event in self.store.rows.items():
            if name[0] == "parked":
                queues.setdefault(name[1:3], []).append(event)
        return sorted(who for who, queue in queues.items() if min(queue).reason != GAP)

    def send(self, raw: bytes, name: str = "") -> Process:
        """A sender: it repeats its message until it has an answer, and sometimes after that; some give up."""
        gives_up = self.chance.random() < 0.2

        def main() -> None:
            process = self.schedule.current
            if gives_up and process is not None and process.lives > 1:
                return
            intake = self._intake()
            while True:
                try:
                    receipt = intake.receive(raw, operator=model.OPERATOR, clinic=model.CLINIC, door="simulation")
                except Refused as refusal:
                    self.schedule.say(f"refused: {refusal}")
                    self.refused.add(message_id(model.OPERATOR, model.CLINIC, raw))
                    return
                except (psycopg.Error, EpicrisisError) as error:
                    self.schedule.say(f"no answer: {error!r}")
                    if gives_up:
                        return
                    self.schedule.sleep(self.chance.choice((0.05, 1.0, 8.0)))
                else:
                    self.schedule.say(f"receipt {dict(receipt.events)}")
                    self.truth.answered(raw, receipt)
                    if self.chance.random() > 0.15:
                        return

        return self.schedule.start(name or f"sender {len(self.schedule.processes)}", main)

    # What they are made of

    def _clock(self) -> float:
        return self.schedule.now

    def _intake(self) -> Intake:
        return Intake(
            services=model.SERVICES,
            journals=self.journals,
            inbox=self.inbox,
            codec=model.plain_codec(),
            keys=model.PlainKeys(),
            digests=Digests(bytes(32)),
            clock=lambda: START + timedelta(seconds=self.schedule.now),
            ticks=self._clock,
            pause=lambda seconds: self.schedule.sleep(seconds * 10),
            gate=model.gate(),
        )

    def _decoder(self) -> Decoder:
        return Decoder(model.plain_codec(), model.PlainKeys(), self.followers)

    def _missing(self, subject: UUID, source: str, first: int, last: int) -> list[bytes]:
        if self.schedule.rate("gone"):
            self.schedule.fault("journal gone")
            raise Unreachable
        return self.journals[source].after(subject, first, last)

    # What happens to it

    def mishap(self) -> None:
        """What happens to the servers by themselves."""
        schedule = self.schedule
        if schedule.rate("garbage"):
            self.add_garbage()
        if schedule.rate("late"):
            self.log.arrive()
        if schedule.rate("jump"):
            self.jump(self.chance.choice((-30.0, -5.0, 5.0, 30.0)))

    def add_garbage(self) -> None:
        """Somebody writes what is no event."""
        self.schedule.fault("garbage")
        self.garbage += 1
        value = self.chance.choice((b"garbage", b"", None, b"\0\0\0\0\1x"))
        if self.truth.known and self.chance.random() < 0.5:  # an event, under a key that is not its subject
            value = min(self.truth.known)
            self.log.write(self.chance.randrange(len(self.log.partitions)), b"somebody", value)
        else:
            self.log.write(self.chance.randrange(len(self.log.partitions)), bytes(16), value)

    def jump(self, seconds: float) -> None:
        """The clock of one service's database jumps: leases run out early, or late."""
        self.schedule.fault("clock jump")
        self.outgoing[self.chance.choice(sorted(self.outgoing))].skew += seconds

    def run(self, steps: int) -> None:
        """So many turns."""
        for at in range(steps):
            if at % MISHAP_STEPS == 0:
                self.mishap()
            self.schedule.step()

    def rest(self) -> None:
        """Faults stop, failing functions are mended, messages end: everything must come to rest, and be right."""
        self.schedule.faulty, self.resting = False, True
        self.models.mended = True
        self.schedule.say("faults stop")
        for process in self.older:
            if process.lives == 1:
                self.schedule.kill(process)
        while self.log.late:
            self.log.arrive()
        senders = [p for p in self.schedule.processes if p.name.startswith("sender")]
        for at in range(MOST_STEPS):
            self.schedule.step()
            if at % 25 == 0 and all(p.ended for p in senders) and self._quiet():
                break
        else:
            late = [p.name for p in senders if not p.ended]
            if late:
                raise Violation(f"no answer for {late}")
        try:
            self._look_at_rest()
        except Seen as seen:
            raise Violation(str(seen)) from None

    def _look_at_rest(self) -> None:
        self.truth.at_rest(
            log=self.log,
            store=self.store,
            models=self.models,
            outgoing=self.outgoing,
            consumers=[f.name for f in self.followers],
            receipts=self.inbox.receipts(),
            refused=self.refused,
            garbage=self.garbage,
        )
        must(not self.inbox.waiting(), "a message is never finished")

    def _quiet(self) -> bool:
        """Whether nobody has anything to do any more."""
        if any(one.cursors.get(s, 0) < tail for one in self.outgoing.values() for s, tail in one.journal.tails.items()):
            return False
        ends, rows = self.log.ends(), self.store.rows
        behind = any(
            (rows.get(("offset", f.name, n)) or (0, 0))[0] < end for f in self.followers for n, end in ends.items()
        )
        return not behind and not any(name[0] == "parked" for name in rows) and not self.inbox.waiting()

    def stop(self) -> None:
        self.schedule.stop()


def seeded(seed: int, trace: list[str] | None = None) -> World:
    """A world whose size, faults and messages follow from a seed."""
    chance = Random(seed)
    rates = {fault: chance.choice(some) for fault, some in RATES.items() if chance.random() < 0.5}
    world = World(
        chance,
        rates,
        partitions=chance.choice((1, 2, 2, 4)),
        relays=chance.choice((1, 1, 2)),
        workers=chance.choice((1, 2, 2, 3)),
        wakes=chance.random() < 0.5,
        trace=trace,
    )
    for n in range(chance.choice((2, 4, 6))):
        world.send(model.message(chance), f"sender {n}").wake = chance.choice((0.0, 0.0, 0.1, 1.0, 5.0))
    return world


RATES: dict[str, tuple[float, ...]] = {
    "kill": (0.002, 0.01, 0.02),
    "freeze": (0.002, 0.005),
    "cut": (0.002, 0.01, 0.03),
    "commit": (0.02, 0.1),
    "send": (0.02, 0.1, 0.3),
    "rebalance": (0.01, 0.05),
    "left out": (0.05, 0.2),
    "redeliver": (0.05, 0.2),
    "unwatch": (0.02, 0.1),
    "garbage": (0.02, 0.05),
    "late": (0.1, 0.5),
    "jump": (0.02, 0.1),
    "gone": (0.1, 0.5),
}
"""How often what goes wrong, per occasion; a seed takes some of them."""


def live(seed: int, trace: list[str] | None = None) -> World:
    """A whole life: faults, quiet, and at the end everything right."""
    world = seeded(seed, trace)
    try:
        world.run(world.chance.choice((150, 400, 800)))
        world.rest()
    finally:
        world.stop()
    return world
