"""The faults of a storm. Each begins with a function that returns what ends it (or None: it is over at once)."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import psycopg

from epicrisis.settings import Settings
from tests.faults.processes.crew import Crew, kind_of
from tests.faults.processes.proxy import Proxy, commits, produces
from tests.faults.processes.roles import SESSION_MS
from tests.faults.processes.servers import Servers

End = Callable[[], None] | None


class Place:
    """Where faults happen: the servers with their proxies, and the roles behind them."""

    def __init__(self, servers: Servers, near: Settings, crew: Crew, chance: random.Random) -> None:
        self.servers, self.near, self.crew, self.chance = servers, near, crew, chance
        self.frozen: set[str] = set()
        self._starting: list[threading.Thread] = []

    def start_kafka(self) -> None:
        """Bring dead brokers back, beside whatever else happens."""
        thread = threading.Thread(target=self.servers.brokers.start, name="kafka comes back", daemon=True)
        self._starting.append(thread)
        thread.start()

    @property
    def kafka_is_whole(self) -> bool:
        """Whether every broker is up, and none is about to come."""
        return self.servers.brokers.whole and not any(t.is_alive() for t in self._starting)

    def heal(self) -> None:
        """End whatever still lasts."""
        for proxy in self.servers.proxies:
            proxy.heal()
        for name in list(self.frozen):
            self.thaw(name)
        for thread in self._starting:
            thread.join()
        self._starting.clear()
        self.servers.brokers.start()
        self.servers.database.start()

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self.frozen.add(name)
        self.crew.running[name].send(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT, if it is still there."""
        self.frozen.discard(name)
        if name in self.crew.running:
            self.crew.running[name].send(signal.SIGCONT)


def _network(place: Place) -> list[Proxy]:
    """The proxies of one server or the other."""
    brokers = list(place.servers.brokers.proxies.values())
    return place.chance.choice([brokers, [place.servers.database.proxy], place.chance.sample(brokers, 1)])


def latency(place: Place) -> End:
    some, seconds = _network(place), place.chance.uniform(0.01, 0.15)
    for proxy in some:
        proxy.latency = seconds
    return _heal(some)


def throttled(place: Place) -> End:
    some, rate = _network(place), place.chance.choice((20_000, 100_000))
    for proxy in some:
        proxy.rate = rate
    return _heal(some)


def half_open(place: Place) -> End:
    some = _network(place)
    for proxy in some:
        proxy.silent = True
    return _heal(some)


def unreachable(place: Place) -> End:
    some = _network(place)
    for proxy in some:
        proxy.closed = True
        proxy.cut()
    return _heal(some)


def cut(place: Place) -> End:
    for proxy in _network(place):
        proxy.cut()
    return None


def forgotten(place: Place) -> End:
    """Connections to PostgreSQL are gone without a word, as if the machine in between had lost its power."""
    with suppress(PermissionError):  # without root they stay
        place.servers.database.proxy.forget()
    return None


def answer_lost_at_commit(place: Place) -> End:
    place.servers.database.proxy.lose = commits
    return _heal([place.servers.database.proxy])


def answer_lost_at_produce(place: Place) -> End:
    brokers = list(place.servers.brokers.proxies.values())
    for proxy in brokers:
        proxy.lose = produces
    return _heal(brokers)


def _heal(some: list[Proxy]) -> Callable[[], None]:
    def heal() -> None:
        for proxy in some:
            proxy.heal()

    return heal


def frozen(place: Place) -> End:
    """SIGSTOP of a relay or a worker, for longer than its lease or session lasts: it wakes up as a zombie."""
    able = sorted(n for n, role in place.crew.running.items() if role.alive and n not in place.frozen)
    able = [name for name in able if kind_of(name) in ("relay", "work")]
    if not able:
        return None
    name = place.chance.choice(able)
    place.freeze(name)
    return lambda: place.thaw(name)


def backends_terminated(place: Place) -> End:
    _backends(place, "pg_terminate_backend(pid)", place.chance.randint(1, 6))
    return None


def backend_killed(place: Place) -> End:
    """kill -9 of one backend: PostgreSQL ends all others and recovers from its log."""
    for (pid,) in _backends(place, "pid", 1):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return None


def _backends(place: Place, what: str, count: int) -> list[tuple[int]]:
    query = f"SELECT {what} FROM pg_stat_activity WHERE starts_with(usename::text, %s) ORDER BY random() LIMIT %s"
    try:
        with psycopg.connect(place.near.admin_dsn(), connect_timeout=5) as connection:
            return connection.execute(query.encode(), [f"{place.near.namespace}_", count]).fetchall()
    except psycopg.OperationalError:  # it is still recovering from the last time
        return []


def broker_killed(place: Place) -> End:
    """kill -9 of one broker of three; the others go on."""
    if not place.kafka_is_whole:
        return None
    place.servers.brokers.kill(place.chance.choice(list(place.servers.brokers.nodes)))
    return place.start_kafka


def two_brokers_killed(place: Place) -> End:
    """kill -9 of two brokers of three: publishing waits."""
    if not place.kafka_is_whole:
        return None
    for node in place.chance.sample(list(place.servers.brokers.nodes), 2):
        place.servers.brokers.kill(node)
    return place.start_kafka


class Fault(NamedTuple):
    """``seconds``: how long it lasts, at least and at most."""

    begin: Callable[[Place], End]
    seconds: tuple[float, float] = (0.3, 2)


FAULTS = {
    "latency": Fault(latency),
    "throttled": Fault(throttled),
    "half-open": Fault(half_open, (0.5, 3)),
    "unreachable": Fault(unreachable),
    "connections cut": Fault(cut),
    "connections forgotten": Fault(forgotten),
    "answer lost at COMMIT": Fault(answer_lost_at_commit, (0.2, 1)),
    "answer lost at Produce": Fault(answer_lost_at_produce, (0.2, 1)),
    "SIGSTOP past the session": Fault(frozen, (SESSION_MS / 1000 + 0.5, SESSION_MS / 1000 + 2)),
    "backends terminated": Fault(backends_terminated),
    "backend kill -9": Fault(backend_killed),
    "broker kill -9": Fault(broker_killed),
    "two brokers kill -9": Fault(two_brokers_killed),
}
