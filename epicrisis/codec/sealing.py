"""The seal: AES-256-GCM (NIST SP 800-38D) under the subject's data key, a random 96-bit nonce before the ciphertext.

The associated data ties a body to its event: id (16 bytes), subject (16 bytes), version (4 bytes, big-endian), type.
Moved to another event, a body does not open.
One key seals far fewer than the 2^32 messages that random nonces allow.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag

from epicrisis.codec.keys import DataKey
from epicrisis.errors import SealBroken

NONCE = 12
OVERHEAD = NONCE + 16


def body_context(version: int, type: str) -> bytes:
    """What follows 16 bytes of event id and 16 bytes of subject in a body's associated data: version and type."""
    return version.to_bytes(4, "big") + type.encode()


def seal(plain: bytes, key: DataKey, context: bytes) -> bytes:
    """Nonce and ciphertext; ``context`` must be given again to open it."""
    nonce = os.urandom(NONCE)  # never from a buffer: a fork would use it twice
    return nonce + key.aead.encrypt(nonce, plain, context)


def unseal(sealed: bytes, key: DataKey, context: bytes) -> bytes:
    """What was sealed.

    Raises
    ------
    SealBroken
        Other bytes, another key or another context than it was sealed with.
    """
    if len(sealed) < OVERHEAD:
        raise SealBroken("the sealed bytes are too short: compare the record with the journal")
    try:
        return key.aead.decrypt(sealed[:NONCE], sealed[NONCE:], context)
    except InvalidTag:
        raise SealBroken from None
