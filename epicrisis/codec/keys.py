"""Data keys: one per subject. Destroying it erases the subject's bodies wherever copies of them are."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable
from typing import Protocol
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from epicrisis.errors import KeyLost

KEY = 32
_NONCE = 12


class DataKey:
    """The key of one subject, ready for use. It never shows its bytes."""

    __slots__ = ("aead", "id", "id_bytes", "subject")

    def __init__(self, id: UUID, subject: UUID, aead: AESGCM) -> None:
        self.id = id
        self.subject = subject
        self.aead = aead
        self.id_bytes = id.bytes

    def __repr__(self) -> str:
        return f"DataKey(id={self.id}, subject={self.subject})"


class Wrapping(Protocol):
    """What protects the data keys at rest: three methods, so that a KMS fits behind it.

    ``context`` is bound to the wrapped key: it only opens with the same.
    """

    def name(self) -> str:
        """Which wrapping key this is: stored beside every wrapped key. No secret."""

    def wrap(self, plain: bytes, context: bytes) -> bytes:
        """The key, encrypted."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key again; raises KeyLost where it was wrapped with another key or context."""


class LocalWrapping:
    """Wraps with a key of 32 bytes from the settings (AES-256-GCM)."""

    def __init__(self, key: bytes, name: str = "local") -> None:
        if len(key) != KEY:
            raise ValueError("the wrapping key has 32 bytes")
        self._aead = AESGCM(key)
        self._name = name

    def name(self) -> str:
        return self._name

    def wrap(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, plain, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._aead.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], context)
        except (InvalidTag, ValueError):
            raise KeyLost(
                "a data key was wrapped with another wrapping key: set EPICRISIS_WRAPPING_KEY to that one, start again"
            ) from None


class KeyStore(Protocol):
    """Where data keys are kept."""

    def for_subjects(self, subjects: Collection[UUID]) -> dict[UUID, DataKey]:
        """The key of each subject, made where there is none yet: for those who seal.

        Raises
        ------
        KeyLost
            A subject was erased: nothing more may be written about it.
        """

    def by_ids(self, ids: Collection[UUID]) -> dict[UUID, DataKey]:
        """The keys with these ids: for those who read. Unknown and destroyed ones are absent."""

    def destroy(self, subject: UUID) -> bool:
        """Erase a subject for good; False where it had no key (left)."""

    def close(self) -> None:
        """Give connections back."""


def context(id: UUID, subject: UUID) -> bytes:
    """What a wrapped key is bound to: its id and its subject."""
    return id.bytes + subject.bytes


def unwrapped(id: UUID, subject: UUID, wrapped: bytes, wrapping: Wrapping) -> DataKey:
    """A stored key, ready for use."""
    return DataKey(id, subject, AESGCM(wrapping.unwrap(wrapped, context(id, subject))))


def fresh(subjects: Iterable[UUID], wrapping: Wrapping) -> list[tuple[UUID, UUID, bytes]]:
    """A new random key for each subject: its id, the subject, the wrapped key."""
    made = []
    for subject in subjects:
        id = uuid4()
        made.append((id, subject, wrapping.wrap(os.urandom(KEY), context(id, subject))))
    return made


def erased(subjects: Iterable[UUID]) -> KeyLost:
    """The error of a subject whose key was destroyed."""
    names = ", ".join(sorted(map(str, subjects)))
    return KeyLost(f"erased, so that nothing more may be written about it: subject {names}")


class MemoryKeyStore:
    """Keys in this process alone: for tests, and for looking at records without a server."""

    def __init__(self, wrapping: Wrapping | None = None) -> None:
        self._wrapping = wrapping or LocalWrapping(os.urandom(KEY))
        self._by_subject: dict[UUID, DataKey | None] = {}
        self._by_id: dict[UUID, DataKey] = {}
        self._lock = threading.Lock()

    def for_subjects(self, subjects: Collection[UUID]) -> dict[UUID, DataKey]:
        with self._lock:
            missing = [subject for subject in dict.fromkeys(subjects) if subject not in self._by_subject]
            for id, subject, wrapped in fresh(missing, self._wrapping):
                key = unwrapped(id, subject, wrapped, self._wrapping)
                self._by_subject[subject] = self._by_id[id] = key
            found = {subject: self._by_subject[subject] for subject in subjects}
            if gone := [subject for subject, key in found.items() if key is None]:
                raise erased(gone)
            return {subject: key for subject, key in found.items() if key is not None}

    def by_ids(self, ids: Collection[UUID]) -> dict[UUID, DataKey]:
        with self._lock:
            return {id: self._by_id[id] for id in ids if id in self._by_id}

    def destroy(self, subject: UUID) -> bool:
        with self._lock:
            key = self._by_subject.get(subject)
            if key is None:
                return False
            self._by_subject[subject] = None
            del self._by_id[key.id]
            return True

    def close(self) -> None:
        pass
