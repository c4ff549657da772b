"""An executor for small messages: its threads take all that waits, and do it in step."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Generic, ParamSpec, TypeVar

from epicrisis.grouped import in_step

LINGER = 0.003
"""Seconds that a group waits, once its first is there, for as many as went together before."""
P = ParamSpec("P")
T = TypeVar("T")


class Lockstep(Executor):
    """``threads`` threads, each with up to ``most`` pieces of work at a time.

    Work that asks databases through `Grouped` shares round trips and commits with the others. A thread takes new work
    when what it has is done, or waits for its turn.
    """

    def __init__(self, threads: int, most: int, name: str = "", *, linger: float = LINGER) -> None:
        self._most = most
        self._linger = linger
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._before = 0
        self._threads = [
            threading.Thread(target=in_step, args=(self._take,), name=f"{name} {n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        with self._lock:
            if self._closed:
                raise RuntimeError("no new work after shutdown")
            self._work.put(work)
        return future

    def _take(self, seconds: float | None) -> list[Callable[[], None]] | None:
        """What waits, at most so many pieces; None at the end."""
        some: list[Callable[[], None]] = []
        until = 0.0
        while len(some) < self._most:
            try:
                if not some:
                    work = self._work.get(timeout=seconds)
                    until = time.monotonic() + self._linger
                elif len(some) < self._before and (left := until - time.monotonic()) > 0:
                    work = self._work.get(timeout=left)
                else:
                    work = self._work.get_nowait()
            except queue.Empty:
                break
            if work is None:
                if not some:
                    return None
                self._work.put(None)
                break
            some.append(work)
        self._before = len(some)
        return some

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor.shutdown`; what was submitted is done."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            for _ in self._threads:
                self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()


class Spares(Generic[T]):
    """What only one piece of work at a time may use: ``make`` makes another where none is to spare."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._spare: list[T] = []

    @contextmanager
    def one(self) -> Iterator[T]:
        """One, for as long as the context lasts."""
        try:
            mine = self._spare.pop()
        except IndexError:
            mine = self._make()
        try:
            yield mine
        finally:
            self._spare.append(mine)
