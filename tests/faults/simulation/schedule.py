"""Processes that take turns, in a time of their own: everything that happens is decided by one seed.

A process runs the production code in a greenlet. Wherever that code does I/O, the double of the server calls `turn`:
there the process may be put aside for others, killed, frozen or cut off. Time only passes in `Schedule.run`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Executor, Future
from math import inf
from random import Random
from typing import Any

import psycopg
from greenlet import getcurrent, greenlet

from epicrisis.locks import Locks

TICK = 0.0005
"""How long a turn takes, in seconds of the simulated time."""
FROZEN_SECONDS = 10.0
"""After so long the database ends the transaction of a process that does nothing in it."""


class Killed(BaseException):
    """The process is gone: nothing that it still does has any effect."""


class Seen(BaseException):
    """Something was seen that must never happen. No process catches it, whatever else it survives."""


class Violation(AssertionError):
    """The same, for whoever drives the schedule."""


class Process:
    """One process, and its successors after each kill; or a thread of its ``host``."""

    def __init__(self, name: str, main: Callable[[], None], host: Process | None = None) -> None:
        self.name, self.main = name, main
        self.host = host or self
        self.wake = 0.0
        self.blocked = self.killed = self.ended = False
        self.frozen_until = 0.0
        self.doom: str | None = None
        self.lives = 0
        self.killed_at = 0.0
        self.threads: list[Process] = []
        self.transactions: list[Any] = []
        self.greenlet: greenlet | None = None


class Schedule:
    """Whose turn it is, what time it is, and what goes wrong.

    ``rates`` says how often, per turn: ``kill``, ``freeze``, ``cut`` (the connection, or the broker's answer).
    """

    def __init__(self, chance: Random, rates: dict[str, float] | None = None) -> None:
        self.chance = chance
        self.rates = rates or {}
        self.faulty = bool(rates)
        self.now = 0.0
        self.steps = 0
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.faults: Counter[str] = Counter()
        self.trace: list[str] | None = None
        self._hub = getcurrent()
        self._kill, self._freeze, self._cut = (self.rates.get(r, 0.0) for r in ("kill", "freeze", "cut"))

    # What the doubles of the servers call

    def turn(self, what: str, cuts: type[Exception] | None = psycopg.OperationalError) -> None:
        """The process does I/O: others may come first. What may go wrong here raises."""
        process = self.current
        if process is None:  # a look from outside
            return
        if process.host.killed:
            raise Killed
        process.wake = max(self.now, process.host.frozen_until)
        self._hub.switch()
        if process.host.killed:
            raise Killed
        if self.trace is not None:
            self.say(what)
        if process.doom is not None:
            self._meet(process, what, cuts)
        if self.faulty:
            at = self.chance.random()
            if at < self._kill:
                process.doom = "kill"
            elif at < self._kill + self._freeze:
                process.doom = "freeze"
            elif at < self._kill + self._freeze + self._cut:
                process.doom = "cut"
            else:
                return
            self._meet(process, what, cuts)

    def _meet(self, process: Process, what: str, cuts: type[Exception] | None) -> None:
        doom, process.doom = process.doom, None
        if doom == "kill":
            self.fault(f"kill {what}")
            process.host.killed = True
            raise Killed
        if doom == "freeze":
            self.fault("freeze")
            seconds = self.chance.choice((0.5, 3.0, 12.0, 20.0, 40.0))
            host = process.host
            host.frozen_until = self.now + seconds
            for one in (host, *host.threads):
                one.wake = max(one.wake, host.frozen_until)
            if seconds > FROZEN_SECONDS:
                self._end_transactions(host)
            self._hub.switch()
            if host.killed:
                raise Killed
        elif doom == "cut" and cuts is not None:
            self.fault(f"cut {what}")
            raise cuts("the simulation cut the connection")

    def _end_transactions(self, process: Process) -> None:
        """What PostgreSQL does to who is idle in a transaction: rolled back, and its locks are free."""
        for transaction in process.transactions:
            transaction.lost = True
            transaction.free()

    def sleep(self, seconds: float) -> None:
        """The process waits."""
        process = self.current
        assert process is not None
        if process.host.killed:
            raise Killed
        process.wake = max(self.now + max(seconds, TICK), process.host.frozen_until)
        self._hub.switch()
        if process.host.killed:
            raise Killed

    def wait(self) -> None:
        """The process waits for a lock."""
        process = self.current
        assert process is not None
        if process.host.killed:
            raise Killed
        process.blocked = True
        self._hub.switch()
        process.blocked = False
        if process.host.killed:
            raise Killed

    def rate(self, name: str) -> bool:
        """Whether a fault of this kind happens now."""
        return self.faulty and self.chance.random() < self.rates.get(name, 0.0)

    def fault(self, what: str) -> None:
        """Count a fault."""
        self.faults[what] += 1
        self.say(f"FAULT {what}")

    def say(self, what: str) -> None:
        """Into the trace, if somebody wants one."""
        if self.trace is not None:
            who = self.current.name if self.current else "-"
            self.trace.append(f"{self.steps:6} {self.now:9.4f} {who:16} {what}")

    # What drives it

    def start(self, name: str, main: Callable[[], None]) -> Process:
        """A process that is started, and started again after each kill, until its ``main`` returns."""
        process = Process(name, main)
        self.processes.append(process)
        return process

    def thread(self, name: str, main: Callable[[], None]) -> None:
        """Something that the current process does beside what it does: it ends with its ``main``, or with its host."""
        assert self.current is not None
        host = self.current.host
        thread = Process(f"{host.name} {name}", main, host)
        thread.wake = max(self.now, host.frozen_until)
        host.threads.append(thread)
        self.processes.append(thread)

    def step(self) -> bool:
        """One turn of some process; False where none will ever have one again."""
        now = self.now
        ready = [p for p in self.processes if p.wake <= now and not p.blocked]
        if not ready:
            now = self.now = min([p.wake for p in self.processes if not p.blocked], default=inf)
            if now == inf:
                return False
            ready = [p for p in self.processes if p.wake <= now and not p.blocked]
        self.resume(ready[int(self.chance.random() * len(ready))] if len(ready) > 1 else ready[0])
        return True

    def resume(self, process: Process) -> None:
        """Let this process do one thing."""
        self.steps += 1
        self.now += TICK
        self.current = process
        running = process.greenlet
        try:
            if running is None:
                process.lives += 1
                running = process.greenlet = greenlet(self._life)
                running.switch(process)
            else:
                running.switch()
        except Seen as seen:
            raise Violation(str(seen)) from None
        if process.host.killed:
            self._end(process.host)
        self.current = None

    def _life(self, process: Process) -> None:
        try:
            process.main()
            process.ended, process.wake = True, inf
            if process.host is not process:
                self._remove(process)
        except Killed:
            pass
        finally:
            process.greenlet = None

    def _remove(self, thread: Process) -> None:
        thread.host.threads.remove(thread)
        self.processes.remove(thread)

    def _end(self, host: Process) -> None:
        """The process has been killed: so are all its threads, and another takes its place after a while."""
        for one in (host, *host.threads):
            if one.greenlet is not None:
                self.current = one
                one.greenlet.switch()
                assert one.greenlet is None, f"{one.name} outlived its own death"
        for one in list(host.threads):
            self._remove(one)
        host.transactions.clear()
        host.killed, host.blocked, host.doom, host.frozen_until = False, False, None, 0.0
        host.killed_at = self.now
        if not host.ended:
            host.wake = self.now + self.chance.choice((0.01, 1.0, 20.0))

    def kill(self, host: Process) -> None:
        """From outside: the process is gone at once."""
        host.killed = True
        self._end(host)
        self.current = None

    def stop(self) -> None:
        """The end of this world."""
        for process in [p for p in self.processes if p.host is p]:
            self.kill(process)


class Signal:
    """See `epicrisis.stopping.Signal`: in the simulated time. ``stretch`` makes idle waits longer, and so rarer."""

    def __init__(self, schedule: Schedule, stretch: float = 1.0) -> None:
        self._schedule, self._stretch, self._given = schedule, stretch, False
        self._waiting: Process | None = None

    def is_set(self) -> bool:
        return self._given

    def set(self) -> None:
        self._given = True
        if self._waiting is not None:
            self._waiting.wake = self._schedule.now

    def clear(self) -> None:
        self._given = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._given:
            self._waiting = self._schedule.current
            try:
                self._schedule.sleep((timeout or 1.0) * self._stretch)
            finally:
                self._waiting = None
        return self._given


class SimulatedLocks(Locks):
    """Waits by letting others run; who waits for one that waits for him is told so, as PostgreSQL does."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule
        self._waiting: dict[object, Hashable] = {}
        self._blocked: list[Process] = []

    def take(self, owner: object, names: Iterable[Hashable]) -> None:
        for name in names:
            while self._owners.get(name, owner) is not owner:
                self._waiting[owner] = name
                try:
                    self._look_for_deadlock(owner)
                    process = self._schedule.current
                    assert process is not None, "a look from outside never waits"
                    self._blocked.append(process)
                    self._schedule.wait()
                finally:
                    del self._waiting[owner]
            self._owners[name] = owner

    def _look_for_deadlock(self, owner: object) -> None:
        at: object | None = owner
        for _ in range(len(self._waiting) + 1):
            name = self._waiting.get(at)
            if name is None:
                return
            at = self._owners.get(name)
            if at is owner:
                self._schedule.fault("deadlock")
                raise psycopg.errors.DeadlockDetected("the simulation found a deadlock")

    def free(self, owner: object) -> None:
        held = [name for name, other in self._owners.items() if other is owner]
        for name in held:
            del self._owners[name]
        if held:
            for process in self._blocked:
                process.blocked = False
            self._blocked.clear()


class Answer(Future[Any]):
    """A future whose ``result`` and ``exception`` let others run meanwhile."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule
        self._waiting: Process | None = None

    def _wait(self) -> None:
        while not self.done():
            self._waiting = self._schedule.current
            self._schedule.wait()

    def result(self, timeout: float | None = None) -> Any:
        self._wait()
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait()
        return super().exception(0)

    def answered(self) -> None:
        """Whoever waits goes on."""
        if self._waiting is not None:
            self._waiting.blocked = False


class Threads(Executor):
    """Does what it is given in a thread of the process that gives it."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Answer:
        answer = Answer(self._schedule)

        def work() -> None:
            try:
                answer.set_result(fn(*args, **kwargs))
            except Exception as error:
                answer.set_exception(error)
            answer.answered()

        self._schedule.thread("applier", work)
        return answer
