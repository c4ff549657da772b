"""Keep what a door refused: sealed under a data key of its own; in clear only FHIR issue codes and places."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID, uuid4

import msgspec
import zstandard
from uuid_utils import UUID as FastUUID
from uuid_utils import uuid5

from epicrisis import logging
from epicrisis.codec import DataKey, KeyStore
from epicrisis.codec.sealing import seal, unseal
from epicrisis.errors import KeyLost, NotKept, Refused
from epicrisis.fhir.outcome import Problem
from epicrisis.intake.inbox import MAX_BYTES
from epicrisis.quarantine.store import DISCARDED, RESUBMITTED, WAITING, Held, Store

CAP_MESSAGES = 10_000
CAP_BYTES = 1024 * 1024 * 1024
"""So much of one operator's may wait. Beyond it nothing more is kept, and the sender is told: nothing is dropped."""

SAME = FastUUID("3c1f6a52-0d8b-5b0e-9c55-7f1f4a7f4b3d")
"""The namespace of what makes two refused messages the same one."""
_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]()-]{0,255}\Z").match
"""A FHIRPath of element names, or a place in an HL7 v2 message: no other place is kept in clear."""
_CODE = re.compile(r"[a-z-]{1,32}\Z").match

log = logging.get(__name__)


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed: the message as it came, its name in the door's protocol, and why it was refused."""

    raw: bytes
    name: str | None
    problems: list[Problem]


_frame = msgspec.msgpack.Encoder()
_original = msgspec.msgpack.Decoder(Original)


class Quarantine:
    """What the doors refused. May be shared by threads."""

    def __init__(self, store: Store, keys: KeyStore, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    # The doors' side

    def refused(
        self,
        raw: bytes,
        *,
        operator: str,
        clinic: str,
        door: str,
        problems: Sequence[Problem],
        name: str | None = None,
    ) -> list[Problem]:
        """`keep`, and what the door then answers: the problems, and that (or that not) the message was kept."""
        try:
            id = self.keep(raw, operator=operator, clinic=clinic, door=door, problems=problems, name=name)
        except NotKept as reason:
            log.error("message not quarantined", operator=operator, door=door, error=reason)
            said = Problem(severity="warning", code="throttled", expression="", text=str(reason))
        else:
            text = f"the message is kept in quarantine as {id}"
            said = Problem(severity="information", code="informational", expression="", text=text)
        return [*problems, said]

    def keep(
        self,
        raw: bytes,
        *,
        operator: str,
        clinic: str,
        door: str,
        problems: Sequence[Problem],
        name: str | None = None,
    ) -> UUID:
        """Keep a refused message; its id here.

        ``name`` is what the door's protocol calls it. While a message waits, the same name (without one: the same
        bytes) from the same clinic through the same door is that message once more: it is counted, and kept as it
        came last.

        Raises
        ------
        NotKept
            Too much of this operator's waits already, or this message was erased.
        """
        from epicrisis import metrics  # which only the doors need

        same = _same(operator, clinic, door, f"name|{name}" if name is not None else f"bytes|{sha256(raw).hexdigest()}")
        content = Original(raw=raw, name=name, problems=list(problems))
        while True:
            found = self._store.waiting(operator, same)
            if found.id is None and (found.messages >= CAP_MESSAGES or found.bytes + len(raw) > CAP_BYTES):
                raise NotKept(
                    f"the message is not kept: {found.messages:,} refused messages ({found.bytes:,} bytes) of this "
                    "operator wait in quarantine, and no more are kept: resubmit or discard some, then send it again"
                )
            now = self._clock()
            held = Held(
                id=found.id or uuid4(),
                operator=operator,
                clinic=clinic,
                door=door,
                first=now,
                last=now,
                problems=_in_clear(problems),
                bytes=len(raw),
            )
            try:
                key = self._keys.for_subjects([held.id])[held.id]
            except KeyLost:
                raise NotKept(f"the message is not kept: it was erased from quarantine ({held.id})") from None
            if self._store.keep(held, same, key.id, _sealed(content, key)):
                metrics.quarantined(operator, door)
                log.info("message quarantined", operator=operator, clinic=clinic, door=door, count=len(problems))
                return held.id

    # The engineers' side

    def rows(self, operator: str | None = None, *, state: str | None = WAITING, limit: int | None = None) -> list[Held]:
        """What waits (or, with another ``state``, what became of it; None: all), oldest first."""
        return self._store.rows(operator, state=state, limit=limit)

    def find(self, id: UUID, operator: str | None = None) -> Held:
        """One message.

        Raises
        ------
        Refused
            There is none with this id, or not for this operator to see.
        """
        found = self._store.rows(operator, id=id)
        if not found:
            raise Refused(f"there is no message {id} in quarantine here: `epicrisis quarantine list --state all`")
        return found[0]

    def original(self, held: Held) -> Original:
        """What was refused, unsealed.

        Raises
        ------
        Refused
            It was sent again: the inbox has it.
        KeyLost
            Its key was destroyed.
        """
        sealed = self._store.sealed(held.operator, held.id)
        if sealed is None:
            raise Refused(f"the message {held.id} was resubmitted: the inbox has its original, no longer quarantine")
        key = self._keys.by_ids([sealed[0]]).get(sealed[0])
        if key is None:
            raise KeyLost(f"the key of the message {held.id} was destroyed: it is erased")
        frame = unseal(sealed[1], key, _context(held.id))
        return _original.decode(zstandard.ZstdDecompressor().decompress(frame, max_output_size=2 * MAX_BYTES))

    def resubmitted(self, held: Held, message: UUID, by: str) -> None:
        """It went in as this message of the inbox; the sealed original is there now, and no longer here."""
        self._settle(replace(held, state=RESUBMITTED, settled=self._clock(), by=by, message=message))

    def discard(self, held: Held, reason: str, by: str) -> None:
        """Nobody will send it again. The row stays, and the sealed original with it, for whoever asks why.

        Raises
        ------
        Refused
            It does not wait any more, or there is no reason.
        """
        if not reason.strip():
            raise Refused("a message is discarded for a reason: write it down")
        self._settle(replace(held, state=DISCARDED, settled=self._clock(), by=by, reason=reason.strip()))

    def waits(self, held: Held) -> None:
        """Nobody has settled it.

        Raises
        ------
        Refused
            Somebody has: what was discarded stays discarded.
        """
        if held.state != WAITING:
            raise _settled(held)

    def _settle(self, held: Held) -> None:
        if not self._store.settle(held):
            raise _settled(held)
        log.info("quarantine settled", operator=held.operator, door=held.door, status=held.state)


def _settled(held: Held) -> Refused:
    return Refused(f"the message {held.id} does not wait any more: `epicrisis quarantine show {held.id}`")


def _same(*parts: str) -> UUID:
    return UUID(int=uuid5(SAME, "|".join(parts)).int)


def _sealed(content: Original, key: DataKey) -> bytes:
    return seal(zstandard.compress(_frame.encode(content), level=3), key, _context(key.subject))


def _context(id: UUID) -> bytes:
    return b"quarantine" + id.bytes


def _in_clear(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    """Codes and places alone: a text is a door's or a service's own, and sealed with the message."""
    pairs = [(p.code if _CODE(p.code) else "invalid", p.expression if _PLACE(p.expression) else "") for p in problems]
    return list(dict.fromkeys(pairs))
