"""Group commit: what several callers ask of a database at the same moment is asked once.

What costs is the way there and the commit, not the rows. Two kinds of callers meet here. Of threads, whoever comes
first carries out its call; those who come meanwhile wait, and the first of them then carries out all of theirs. Work
that goes `InStep` waits in its thread until the others of that thread have got as far; then what they ask goes at once.
Nobody holds a lock while he asks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import psycopg
from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from epicrisis.errors import Unreachable

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

MOST = 64
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, Unreachable)
_IN_THE_WAY = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


class _Calls(Generic[Asked, Answer]):
    """One thread's part; ``turn`` is given back when there are answers, or when it is this thread that leads."""

    __slots__ = ("answers", "asked", "size", "turn")

    def __init__(self, asked: Sequence[Asked], size: int) -> None:
        self.asked = asked
        self.size = size
        self.answers: Sequence[Answer | BaseException] = ()
        self.turn = threading.Lock()
        self.turn.acquire()


class Grouped(Generic[Asked, Answer]):
    """Calls, carried out together by ``carry_out``: an answer for each, in order; an exception among them is raised
    where it belongs.

    ``carry_out`` does all or nothing. Where it fails for another reason than a lost connection, each call is carried
    out alone, so that nobody hears of another's mistake. ``size`` and ``most`` bound what goes together.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Asked]], Sequence[Answer | BaseException]],
        *,
        size: Callable[[Asked], int] = lambda _: 1,
        most: int = MOST,
    ) -> None:
        self._carry_out = carry_out
        self._size = size
        self._most = most
        self._lock = threading.Lock()
        self._waiting: deque[_Calls[Asked, Answer]] = deque()
        self._led = False

    def __call__(self, asked: Asked) -> Answer:
        """The answer to this one."""
        here = getcurrent()
        answer = here.waits_for(self, asked) if isinstance(here, InStep) else self.all([asked])[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def all(self, some: Sequence[Asked]) -> Sequence[Answer | BaseException]:
        """The answers to all of these, in order; exceptions as they are. More than goes together goes in parts."""
        answers: list[Answer | BaseException] = []
        part: list[Asked] = []
        size = 0
        for one in some:
            if part and size + self._size(one) > self._most:
                answers += self._part(part)
                part, size = [], 0
            part.append(one)
            size += self._size(one)
        return [*answers, *self._part(part)]

    def _part(self, some: Sequence[Asked]) -> Sequence[Answer | BaseException]:
        mine: _Calls[Asked, Answer] = _Calls(some, sum(map(self._size, some)))
        with self._lock:
            self._waiting.append(mine)
            leads, self._led = not self._led, True
        if not leads:
            mine.turn.acquire()
        if not mine.answers:
            self._lead()
        return mine.answers

    def _lead(self) -> None:
        """Carry out what waits; my own calls are the first of it."""
        with self._lock:
            some = [self._waiting.popleft()]
            size = some[0].size
            while self._waiting and (size := size + self._waiting[0].size) <= self._most:
                some.append(self._waiting.popleft())
        try:
            answers = self._answers([one for calls in some for one in calls.asked])
            for calls in some:
                calls.answers, answers = answers[: len(calls.asked)], answers[len(calls.asked) :]
        finally:
            with self._lock:
                self._led = bool(self._waiting)
                leader = self._waiting[0] if self._waiting else None
            for calls in some:
                if not calls.answers:  # this thread is being ended
                    ended = psycopg.InterfaceError("the thread that carried this out was ended")
                    calls.answers = [ended] * len(calls.asked)
                calls.turn.release()
            if leader is not None:
                leader.turn.release()

    def _answers(self, some: Sequence[Asked]) -> Sequence[Answer | BaseException]:
        try:
            return self._carry_out(some)
        except Exception as error:
            lost = isinstance(error, _LOST) and not isinstance(error, _IN_THE_WAY)
            if lost or len(some) == 1:
                return [error] * len(some)
            return [self._answers([one])[0] for one in some]


class InStep(greenlet):  # type: ignore[misc]
    """Work that goes in step with others of its thread, see `in_step`."""

    due = 0.0
    asks: tuple[Grouped[Any, Any], Any] | None = None
    answer: Any = None

    def waits_for(self, grouped: Grouped[Any, Any], asked: Any) -> Any:
        """The answer, once the others have got as far."""
        self.asks = grouped, asked
        assert self.parent is not None
        self.parent.switch()
        return self.answer

    def rests(self, seconds: float) -> None:
        """Let the others go on meanwhile."""
        self.due = time.monotonic() + seconds
        assert self.parent is not None
        self.parent.switch()


def pause(seconds: float) -> None:
    """Wait; others that go in step with the caller go on."""
    here = getcurrent()
    if isinstance(here, InStep):
        here.rests(seconds)
    else:
        time.sleep(seconds)


def in_step(take: Callable[[float | None], Sequence[Callable[[], None]] | None]) -> None:
    """Do work in this thread, in step: each piece as far as it comes without asking, then what all ask goes together.

    Each piece does what it does in the same order as alone; what it must tell about errors, it tells itself.
    ``take(seconds)`` gives the next pieces, and waits for them so long (None: as long as it takes); it is called where
    none of those at hand can go on now. None: there is no more; returns when all is done.
    """
    going: list[InStep] = []
    more = True
    while more or going:
        now = time.monotonic()
        ready = [one for one in going if one.due <= now]
        if not ready:
            wait = max(0.0, min(one.due for one in going) - now) if going else None
            if more:
                new = take(wait)
                more = new is not None
                going += [InStep(one) for one in new or ()]
            elif wait:
                time.sleep(wait)
            continue
        asked: dict[Grouped[Any, Any], list[InStep]] = {}
        for one in ready:
            one.switch()
            if one.asks is not None:
                asked.setdefault(one.asks[0], []).append(one)
        for grouped, some in asked.items():
            for one, answer in zip(some, grouped.all([one.asks[1] for one in some if one.asks]), strict=True):
                one.asks, one.answer = None, answer
        going = [one for one in going if not one.dead]
