"""Row locks of the doubles in memory: held until a transaction ends, as PostgreSQL's are."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable


class Locks:
    """Named locks. Who holds one may take it again; everybody else waits."""

    def __init__(self) -> None:
        self._owners: dict[Hashable, object] = {}
        self._changed = threading.Condition()

    def take(self, owner: object, names: Iterable[Hashable]) -> None:
        """Take these locks one after the other, waiting for each."""
        with self._changed:
            for name in names:
                while self._owners.get(name, owner) is not owner:
                    self._changed.wait()
                self._owners[name] = owner

    def free(self, owner: object) -> None:
        """Give back everything that this owner holds."""
        with self._changed:
            self._owners = {name: other for name, other in self._owners.items() if other is not owner}
            self._changed.notify_all()
