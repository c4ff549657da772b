"""How much one client, and all of them, may ask for at once: counted before it is read, so that memory cannot grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from epicrisis.doors.fhir_http.answers import told
from epicrisis.fhir.limits import MIB

RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Of one server process: requests at once of a client and of all, and bytes of bodies that are held at once."""

    client: int = 16
    all: int = 128
    memory: int = 256 * MIB


class Room:
    """What is taken of an `Allowance`. Used by the event loop alone: no lock."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        self._allowance = allowance or Allowance()
        self._clients: Counter[str] = Counter()
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def taken(self, client: str) -> Iterator[Place]:
        """A place for one request, until it is answered.

        Raises
        ------
        Told
            429: this client has too many requests open; 503: all of them together have.
        """
        headers = {"Retry-After": str(RETRY_SECONDS)}
        if self._clients[client] >= self._allowance.client:
            limit = self._allowance.client
            raise told(429, "throttled", f"more than {limit} requests at once: wait for answers", headers=headers)
        if self._requests >= self._allowance.all:
            raise told(503, "throttled", "the server has too much to do: send it again", headers=headers)
        self._clients[client] += 1
        self._requests += 1
        place = Place(self)
        try:
            yield place
        finally:
            self._bytes -= place.bytes
            self._requests -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def hold(self, more: int) -> None:
        """So many bytes more are held; 503 where they do not fit."""
        if self._bytes + more > self._allowance.memory:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            raise told(503, "throttled", "the server holds too much at once: send it again", headers=headers)
        self._bytes += more


class Place:
    """One request's part of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.bytes = 0

    def hold(self, total: int) -> None:
        """The request holds so many bytes in all."""
        if total > self.bytes:
            self._room.hold(total - self.bytes)
            self.bytes = total
