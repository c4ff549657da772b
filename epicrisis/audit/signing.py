"""Who signs checkpoints: the log itself, and witnesses. One secret of 32 bytes gives both keys of a signer."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from epicrisis.audit.verifier.note import COSIGNATURE, ED25519, MLDSA, Checkpoint, Key, signature_line, signed_message


class Signer:
    """An Ed25519 and an ML-DSA-44 key under one name; they never show their bytes."""

    def __init__(self, name: str, secret: bytes, type_: int) -> None:
        if len(secret) != 32:
            raise ValueError("the secret of a signer has 32 bytes")
        self.name = name
        self._classic = Ed25519PrivateKey.from_private_bytes(_derived(secret, b"epicrisis ed25519 v1"))
        self._quantum = MLDSA44PrivateKey.from_seed_bytes(_derived(secret, b"epicrisis ml-dsa-44 v1"))
        self.keys = (
            Key(name, type_, self._classic.public_key().public_bytes_raw()),
            Key(name, MLDSA, self._quantum.public_key().public_bytes_raw()),
        )

    @classmethod
    def log(cls, origin: str, secret: bytes) -> Signer:
        """The log: its name is its origin, its trees' names begin with it."""
        return cls(origin, secret, ED25519)

    @classmethod
    def witness(cls, name: str, secret: bytes) -> Signer:
        """A witness: both of its signatures say when."""
        return cls(name, secret, COSIGNATURE)

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    def sign(self, checkpoint: Checkpoint, time: int) -> str:
        """Two signature lines. ``time``: now, in seconds since 1970. A log signs under the name of its tree."""
        lines = ""
        for key in self.keys:
            own = key.named(checkpoint.origin) if self.keys[0].type == ED25519 else key
            message = signed_message(own.type, own.name, checkpoint, time)
            raw = self._quantum.sign(message) if own.type == MLDSA else self._classic.sign(message)
            lines += signature_line(own.name, own.id + (b"" if own.type == ED25519 else time.to_bytes(8, "big")) + raw)
        return lines


def _derived(secret: bytes, label: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=label).derive(secret)
