"""A record of the log as its consumers are given it: opened once for all of them, unsealed where one needs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from epicrisis.codec import Codec, KeyStore, Sealed
from epicrisis.errors import KeyLost, Poison
from epicrisis.projecting.delivery import Consumer, Delivered


class Decoder:
    """Turns record values into `Delivered`, with the bodies that somebody needs."""

    def __init__(self, codec: Codec, keys: KeyStore, consumers: Sequence[Consumer]) -> None:
        self._codec = codec
        self._keys = keys
        self._consumers = consumers
        self._needed: dict[str, bool] = {}
        self._wholly: dict[str, bool] = {}

    def envelope(self, partition: int, offset: int, key: bytes | None, value: bytes) -> Delivered:
        """The event, its body still sealed.

        Raises
        ------
        Poison
            The record can't be ascribed to a subject.
        """
        sealed = self._codec.open(value)
        if key is not None and key != sealed.meta.subject.bytes:
            raise Poison("the record's key is not its subject", reason="wrong_key")
        return Delivered(partition, offset, sealed.meta, value, sealed.body)

    def bodies(self, items: Iterable[Delivered]) -> None:
        """Unseal the bodies that are needed, their facts only unless somebody reads the resources, and those without
        indentation, which says nothing; what cannot be unsealed carries its problem.
        """
        needed = [item for item in items if self._needs(item.meta.type)]
        keys = self._keys.by_ids({item.meta.key for item in needed if item.meta.key is not None})
        for item in needed:
            key = keys.get(item.meta.key) if item.meta.key else None
            try:
                if key is None:
                    raise KeyLost("the key of this subject is gone")
                facts = not self._wholly[item.meta.type]
                item.body = self._codec.unseal(Sealed(item.meta, item.sealed), key, facts=facts, indented=False)
            except Poison as problem:
                item.problem = problem

    def one(self, partition: int, offset: int, value: bytes) -> Delivered:
        """One event, for retries."""
        item = self.envelope(partition, offset, None, value)
        self.bodies([item])
        return item

    def _needs(self, event_type: str) -> bool:
        needs = self._needed.get(event_type)
        if needs is None:
            needs = self._needed[event_type] = any(c.needs_body(event_type) for c in self._consumers)
            self._wholly[event_type] = any(c.needs_resource(event_type) for c in self._consumers)
        return needs
