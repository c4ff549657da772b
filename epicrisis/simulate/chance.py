"""Everything random: one seeded source, so that the same seed gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Chance(Random):
    """A seeded source with the few draws that clinical data needs."""

    def uuid(self) -> str:
        """A version 4 UUID."""
        bits = f"{self.getrandbits(128):032x}"
        variant = "89ab"[int(bits[16], 16) & 3]
        return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-{variant}{bits[17:20]}-{bits[20:]}"

    def one(self, of: Sequence[T]) -> T:
        """One of them."""
        return of[int(self.random() * len(of))]

    def odds(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def number(self, low: float, high: float, decimals: int) -> str:
        """A decimal between two bounds as text, always with all of its decimals."""
        return f"{low + (high - low) * self.random():.{decimals}f}"

    def digits(self, count: int) -> str:
        """A number of so many digits, leading zeros included."""
        return f"{self.randrange(10**count):0{count}d}"

    def moment(self, start: datetime, days: float) -> datetime:
        """A moment within so many days after the start, to the second."""
        return start + timedelta(seconds=int(self.random() * days * 86_400))
