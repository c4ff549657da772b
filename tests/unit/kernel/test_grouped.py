"""Several callers' questions go together, and each gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import psycopg
import pytest

from epicrisis.grouped import Grouped, in_step, pause
from epicrisis.lockstep import Lockstep, Spares

GENEROUS = 30.0


class Doubling:
    """Doubles numbers; keeps what went together. 13 cannot be doubled; with 99 the connection is lost."""

    def __init__(self) -> None:
        self.together: list[list[int]] = []
        self.entered, self.open = threading.Event(), threading.Event()
        self.open.set()

    def __call__(self, some: Sequence[int]) -> list[int]:
        self.together.append(list(some))
        self.entered.set()
        assert self.open.wait(GENEROUS)
        if 99 in some:
            raise psycopg.OperationalError("gone")
        if 13 in some:
            raise ValueError(13)
        return [2 * one for one in some]


def outcome(call: Callable[[], int]) -> int | str:
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def asked_by_threads(grouped: Grouped[int, int], doubling: Doubling, numbers: Sequence[int]) -> list[int | str]:
    """The answers to 1 and these, each asked by a thread of its own while 1 is being carried out."""
    doubling.open.clear()
    found: dict[int, int | str] = {}

    def ask(number: int) -> None:
        found[number] = outcome(lambda: grouped(number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, *numbers)]
    threads[0].start()
    assert doubling.entered.wait(GENEROUS)
    for count, thread in enumerate(threads[1:], 1):
        thread.start()
        while len(grouped._waiting) < count:
            threading.Event().wait(0.001)
    doubling.open.set()
    for thread in threads:
        thread.join(GENEROUS)
    return [found[number] for number in (1, *numbers)]


def test_what_threads_ask_while_another_is_at_it_goes_together() -> None:
    doubling = Doubling()
    grouped = Grouped(doubling)
    assert asked_by_threads(grouped, doubling, [2, 3, 4]) == [2, 4, 6, 8]
    assert doubling.together == [[1], [2, 3, 4]]
    assert grouped(5) == 10


def test_no_more_goes_together_than_may() -> None:
    doubling = Doubling()
    assert asked_by_threads(Grouped(doubling, size=lambda one: one, most=5), doubling, [2, 3, 4, 9]) == [2, 4, 6, 8, 18]
    assert doubling.together == [[1], [2, 3], [4], [9]]


def test_who_errs_errs_alone() -> None:
    doubling = Doubling()
    assert asked_by_threads(Grouped(doubling), doubling, [2, 13, 4]) == [2, 4, "ValueError", 8]
    assert doubling.together == [[1], [2, 13, 4], [2], [13], [4]]


def test_a_lost_connection_is_lost_for_all_and_nothing_is_tried_again() -> None:
    doubling = Doubling()
    answers = asked_by_threads(Grouped(doubling), doubling, [2, 99])
    assert answers == [2, "OperationalError", "OperationalError"]
    assert doubling.together == [[1], [2, 99]]


def once(*work: Callable[[], None]) -> Callable[[float | None], Sequence[Callable[[], None]] | None]:
    """All of the work at once, then no more."""
    given = iter([work])
    return lambda seconds: next(given, None)


def test_work_in_step_asks_together_and_each_goes_on_in_its_order() -> None:
    first, second = Doubling(), Doubling()
    one, two = Grouped(first), Grouped(second)
    found: list[tuple[int, int | str]] = []

    def work(number: int) -> Callable[[], None]:
        def do() -> None:
            between = outcome(lambda: one(number))
            found.append((number, outcome(lambda: two(between)) if isinstance(between, int) else between))

        return do

    in_step(once(work(1), work(13), work(3)))
    assert found == [(13, "ValueError"), (1, 4), (3, 12)]
    assert (first.together, second.together) == ([[1, 13, 3], [1], [13], [3]], [[2, 6]])


def test_no_more_goes_together_in_step_than_may() -> None:
    doubling = Doubling()
    grouped = Grouped(doubling, size=lambda one: one, most=5)
    found: list[int] = []
    in_step(once(*(lambda number=number: found.append(grouped(number)) for number in (2, 3, 4, 9))))  # type: ignore[misc]
    assert found == [4, 6, 8, 18]
    assert doubling.together == [[2, 3], [4], [9]]


def test_who_rests_holds_up_nobody() -> None:
    """Not those that go in step with it, and not those that come meanwhile."""
    rested, done = [False], []
    calls: list[float | None] = []

    def rests() -> None:
        while not rested[0]:
            pause(0.001)
        done.append("rested")

    def other() -> None:
        done.append("other")

    def later() -> None:
        done.append("later")
        rested[0] = True

    def take(seconds: float | None) -> Sequence[Callable[[], None]] | None:
        calls.append(seconds)
        return {1: [rests, other], 2: [later]}.get(len(calls))

    in_step(take)
    assert done == ["other", "later", "rested"]
    assert calls[0] is None
    assert calls[1] is not None


def test_an_executor_answers_everything_and_ends_when_all_is_done() -> None:
    doubling = Doubling()
    grouped = Grouped(doubling)
    doubling.open.clear()
    executor = Lockstep(1, 4)
    futures: list[Future[int]] = [executor.submit(grouped, 0)]
    assert doubling.entered.wait(GENEROUS)
    futures += [executor.submit(grouped, number) for number in (1, 2, 13, 4, 5)]
    doubling.open.set()
    executor.shutdown()
    assert [outcome(future.result) for future in futures] == [0, 2, 4, "ValueError", 8, 10]
    assert doubling.together[:2] == [[0], [1, 2, 13, 4]]
    with pytest.raises(RuntimeError):
        executor.submit(grouped, 6)


def test_spares_are_used_again_and_never_by_two() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    spares = Spares(make)
    with spares.one() as one, spares.one() as two:
        assert one is not two
    with spares.one() as again:
        assert again in made
    assert len(made) == 2
