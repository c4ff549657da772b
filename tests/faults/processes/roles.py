"""Roles as processes that start at once: forked from a server that has imported everything.

They run the very commands (`relay`, `work`, `serve`). Only how long a dead one is waited for is shorter, so that the
next kill comes when there is work again: leases and sessions of 2 s instead of 10 and 15.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from epicrisis.settings import Settings
from tests.acceptance.support import environment

LEASE_SECONDS, SESSION_MS = 2.0, 2_000

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.faults.processes.warm"])


def warm_up() -> None:
    """Start the fork server, which takes two seconds that nobody need wait for."""
    first = _forks.Process(target=len, args=("",))
    threading.Thread(target=first.start, name="fork server starts").start()


class Role:
    """A process of ours: a command of `epicrisis`, or a function."""

    def __init__(self, settings: Settings, log: Path, *words: str, work: Callable[..., None] | None = None) -> None:
        self.words = words
        self.started = time.monotonic()
        self._process = _forks.Process(target=_run, args=(environment(settings), str(log), work, words))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        return self._process.exitcode

    def send(self, sign: signal.Signals) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sign)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended."""
        self._process.join(seconds)
        return not self.alive

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        self._process.join()

    def stop(self) -> None:
        """SIGTERM; kill -9 where that does not help."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if not self.wait(20):
            self.kill()


def _run(env: Mapping[str, str], log: str, work: Callable[..., None] | None, words: tuple[str, ...]) -> None:
    """In the child."""
    threading.Thread(target=_end_with_the_test, name="watches the test", daemon=True).start()
    os.environ.clear()
    os.environ.update(env)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    random.seed()  # or every child would go on where the fork server's stands
    _miss_sooner()
    if work is not None:
        work(*words)
        return
    from epicrisis.cli import main

    sys.argv = ["epicrisis", *words]
    main()


def _end_with_the_test() -> None:
    """However the test ends: nobody is left behind."""
    test = multiprocessing.parent_process()
    assert test is not None
    test.join()
    os._exit(1)


def _miss_sooner() -> None:
    from epicrisis import relay, worker

    sooner: dict[str, Any] = {"session_timeout_ms": SESSION_MS, "heartbeat_interval_ms": SESSION_MS // 5}
    consumer = worker.KafkaConsumer
    relay.Leases = partial(relay.Leases, seconds=LEASE_SECONDS)  # type: ignore[misc,assignment]
    worker.KafkaConsumer = lambda **options: consumer(**{**options, **sooner})
