"""How the loops of a role are told to stop, and wait meanwhile."""

from __future__ import annotations

from typing import Protocol


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
