"""Several processes behind one port: who gets a connection, and what becomes of it when processes end."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from select import select

import pytest

PROGRAM = Path(__file__).with_name("answering.py")
SECONDS = 30.0
"""Less than `handing.END_SECONDS`, after which whoever has not ended is killed."""


class Running:
    """The program, and connections to it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @contextmanager
    def connected(self, count: int) -> Iterator[list[http.client.HTTPConnection]]:
        """So many connections, begun at the same moment and held."""
        with ExitStack() as held, ThreadPoolExecutor(count) as at_once:
            some = [held.enter_context(closing(self.connection())) for _ in range(count)]
            list(at_once.map(lambda one: one.connect(), some))
            yield some

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def both(self) -> set[int]:
        """The processes that answer, once there are two."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            # What was on its way to a process that ends is gone; its sender sends it again.
            with suppress(ConnectionError), self.connected(2) as some:
                if len(found := set(map(asked, some))) == 2:
                    return found
        raise TimeoutError


def asked(connection: http.client.HTTPConnection) -> int:
    """Which process answers on it."""
    connection.request("GET", "/")
    return int(connection.getresponse().read())


@contextmanager
def program() -> Iterator[Running]:
    made = Running()
    with made.process:
        yield made
        made.process.terminate()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with program() as made:
        yield made


@pytest.fixture
def to_be_ended() -> Iterator[Running]:
    with program() as made:
        yield made


def test_connections_that_come_together_go_to_the_processes_in_turn(running: Running) -> None:
    running.both()
    for _ in range(5):
        with running.connected(4) as some:
            assert sorted(Counter(map(asked, some)).values()) == [2, 2]


def test_who_calls_before_they_are_ready_is_shared_out_as_well(to_be_ended: Running) -> None:
    with to_be_ended.connected(4) as some:
        assert sorted(Counter(map(asked, some)).values()) == [2, 2]


def test_whoever_has_a_connection_answers_all_that_comes_along_it(running: Running) -> None:
    running.both()
    with running.connected(1) as (one,):
        assert len({asked(one) for _ in range(5)}) == 1


def test_a_process_that_is_killed_is_replaced_and_the_other_goes_on(running: Running) -> None:
    killed, other = running.both()
    with running.connected(4) as some:
        kept = [one for one in some if asked(one) == other]
        os.kill(killed, signal.SIGKILL)
        assert [asked(one) for one in kept] == [other, other]
    now = running.both()
    assert other in now
    assert killed not in now


def test_a_process_that_is_stuck_keeps_few_connections_waiting(running: Running) -> None:
    stuck, other = running.both()
    os.kill(stuck, signal.SIGSTOP)
    try:
        with running.connected(60) as some:
            for one in some:
                one.request("GET", "/")
            waiting = until_few_wait(some)
            os.kill(stuck, signal.SIGCONT)
            assert all(int(one.getresponse().read()) in (stuck, other) for one in waiting)
    finally:
        os.kill(stuck, signal.SIGCONT)


def until_few_wait(some: list[http.client.HTTPConnection]) -> list[http.client.HTTPConnection]:
    """Those on which no answer is there yet, once they are fewer than a third."""
    deadline = time.monotonic() + SECONDS
    while len(waiting := [one for one in some if not select([one.sock], [], [], 0)[0]]) * 3 > len(some):
        assert time.monotonic() < deadline, f"{len(waiting)} of {len(some)} wait"
        time.sleep(0.05)
    return waiting


def test_all_end_when_they_are_asked_to(to_be_ended: Running) -> None:
    processes = to_be_ended.both()
    to_be_ended.process.terminate()
    assert to_be_ended.process.wait(SECONDS) == 0
    gone(processes)


def test_they_end_when_whoever_hands_connections_out_is_killed(to_be_ended: Running) -> None:
    processes = to_be_ended.both()
    to_be_ended.process.kill()
    gone(processes)


def gone(processes: set[int]) -> None:
    deadline = time.monotonic() + SECONDS
    while any(map(alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
