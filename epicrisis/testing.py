"""Helpers for tests of services and projections, shipped with the kernel.

given(service, REQUESTED).when(AcceptReferral(by="another")).then_refused("only the clinic")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from epicrisis.decider import Service, fold
from epicrisis.errors import Refused


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command: events, or a refusal."""

    events: tuple[Any, ...]
    refusal: str | None

    def then(self, *expected: Any) -> None:
        """Exactly these events."""
        assert self.refusal is None, f"refused: {self.refusal}"
        assert self.events == expected, f"got {self.events}"

    def then_nothing(self) -> None:
        """Nothing new happened, and nothing was refused."""
        self.then()

    def then_refused(self, words: str) -> None:
        """Refused, with these words in the sentence."""
        assert self.refusal is not None, f"not refused, but {self.events}"
        assert words in self.refusal, self.refusal


@dataclass(frozen=True, slots=True)
class Given:
    """A service with a history."""

    service: Service
    history: tuple[Any, ...]

    def when(self, *commands: Any) -> Outcome:
        """Decide these commands one after the other, as one message would have them decided."""
        state = fold(self.service.evolve, self.service.initial(), self.history)
        happened: list[Any] = []
        try:
            for command in commands:
                events: Sequence[Any] = self.service.decide(command, state)
                state = fold(self.service.evolve, state, events)
                happened.extend(events)
        except Refused as refusal:
            return Outcome((), str(refusal))
        return Outcome(tuple(happened), None)


def given(service: Service, *history: Any) -> Given:
    """Start a sentence: ``given(service, events...).when(commands...).then(events...)``."""
    return Given(service, history)
