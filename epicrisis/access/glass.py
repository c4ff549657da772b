"""Break-glass: decided on what happened to it before, in the journal of `access_audit`, and looked up there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from epicrisis.access.api import Glass, meta_of
from epicrisis.codec import Codec, KeyStore
from epicrisis.decider import Service, fold
from epicrisis.errors import Conflict, TooManyConflicts
from epicrisis.journal import Append, Journal, NewEvent

TRIES = 20
"""Every reading of the patient's record is appended to the same subject."""


class BreakGlass:
    """Starts, ends and reviews. Share one between threads."""

    def __init__(self, *, service: Service, journal: Journal, codec: Codec, keys: KeyStore) -> None:
        self._service = service
        self._journal = journal
        self._codec = codec
        self._keys = keys

    def do(self, glass: Glass) -> int:
        """Decide and append; how many events came of it (none where it was done before).

        Raises
        ------
        Refused
            It may not be: the sentence says why.
        """
        breaks = self._service.breaks
        assert breaks is not None, "the service that records accesses"
        to = breaks(glass)
        for _ in range(TRIES):
            head, state = self._state(glass.patient, to.stream)
            bodies = self._service.decide(to.command, state)
            if not bodies:
                return 0
            try:
                self._journal.append([Append(glass.patient, head, self._events(glass, to.stream, head, bodies))])
                return len(bodies)
            except Conflict:
                continue
        raise TooManyConflicts("this patient's record is being read all the time: try again")

    def until(self, id_: UUID, patient: UUID, client: str, now: datetime) -> datetime | None:
        """Until when this client may read this patient under it; None where it may not."""
        _, state = self._state(patient, stream_of(id_))
        if state is None or state.until is None or state.ended or state.client != client or state.until <= now:
            return None
        until: datetime = state.until
        return until

    def _state(self, patient: UUID, stream: str) -> tuple[int, Any]:
        history = self._journal.load({patient: [stream]})[patient]
        sealed = [self._codec.open(event.value) for event in history.streams.get(stream, ())]
        keys = self._keys.by_ids({one.meta.key for one in sealed if one.meta.key})
        bodies = [self._codec.unseal(one, keys[one.meta.key]) for one in sealed if one.meta.key in keys]
        return history.head, fold(self._service.evolve, self._service.initial(), bodies)

    def _events(self, glass: Glass, stream: str, head: int, bodies: Sequence[Any]) -> list[NewEvent]:
        key = self._keys.for_subjects([glass.patient])[glass.patient]
        events = []
        for number, body in enumerate(bodies):
            # the last one is what was done; before it comes what was only noticed
            id_ = glass.event if number == len(bodies) - 1 else uuid4()
            seq = head + 1 + number
            meta = meta_of(body, glass.who, id=id_, subject=glass.patient, seq=seq, stream=stream, when=glass.when)
            value = self._codec.encode(meta, body, key)
            events.append(NewEvent(id_, seq, stream, meta.type, glass.when, value))
        return events


def stream_of(id_: UUID) -> str:
    """The stream of a break-glass."""
    return f"BreakGlass/{id_}"
