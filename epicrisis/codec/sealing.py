"""The seal: AES-256-GCM (NIST SP 800-38D) under the subject's data key, a random 96-bit nonce before the ciphertext.

The associated data ties a body to its event: id, subject, version, type. Moved to another event it does not open.
One key seals far fewer than the 2^32 messages that random nonces allow.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag

from epicrisis.codec.keys import DataKey
from epicrisis.errors import SealBroken

NONCE = 12
OVERHEAD = NONCE + 16


def body_context(id: bytes, subject: bytes, version: int, type: str) -> bytes:
    """The associated data of a body: 16 bytes event id, 16 bytes subject, 4 bytes version (big-endian), the type."""
    return id + subject + version.to_bytes(4, "big") + type.encode()


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
