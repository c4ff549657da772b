"""Opaque addresses of further pages: what was searched for and where the last page ended, sealed.

What is searched for may be a name. It must not stand in an address, which ends up in logs; and nobody may change it.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from epicrisis.doors.fhir_http.answers import told

_NONCE = 12


class Page(msgspec.Struct, array_like=True, frozen=True):
    """``kind``: which interaction goes on. ``last``: the sort key and the id of the last one shown."""

    kind: str
    resource_type: str
    given: list[tuple[str, str]]
    last: list[Any]


class Pages:
    """Seals and opens. All processes with the same wrapping key understand one another."""

    def __init__(self, secret: bytes) -> None:
        self._aead = AESGCM(hmac.new(secret, b"epicrisis pages v1", sha256).digest())

    def seal(self, page: Page, clinic: str) -> str:
        """As it stands in an address; only this clinic can go on with it."""
        nonce = os.urandom(_NONCE)
        sealed = self._aead.encrypt(nonce, msgspec.msgpack.encode(page), clinic.encode())
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, text: str, clinic: str) -> Page:
        """What was sealed.

        Raises
        ------
        Told
            400: it was not made here, or for somebody else.
        """
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            plain = self._aead.decrypt(raw[:_NONCE], raw[_NONCE:], clinic.encode())
            return msgspec.msgpack.decode(plain, type=Page)
        except (ValueError, InvalidTag, msgspec.MsgspecError):
            raise told(400, "value", "this page is not known: begin the search anew") from None
