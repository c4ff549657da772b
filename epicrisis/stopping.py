"""How the loops of a role are told to stop, and how long they wait before they try again."""

from __future__ import annotations

from typing import Protocol

BACK_OFF_SECONDS = 5.0


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(BACK_OFF_SECONDS, 0.1 * 2.0 ** min(failures, 6))


class Signal(Protocol):
    """What `threading.Event` is; a simulation has its own, in its own time."""

    def is_set(self) -> bool:
        """Whether it was given."""
        ...

    def set(self) -> None:
        """Give it."""
        ...

    def clear(self) -> None:
        """Take it back."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is given, or this many seconds; whether it was given."""
        ...
