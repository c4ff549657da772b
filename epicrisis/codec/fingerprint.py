"""The fingerprint of the wrapping key: what the databases remember of it, to recognise another one."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any

import psycopg

from epicrisis.errors import SettingsError
from epicrisis.sql import queries

_SQL = queries("epicrisis.codec")
ANOTHER = (
    "EPICRISIS_WRAPPING_KEY is not the key that these databases were made with: nobody would be recognised, and no "
    "record could be read. Set it to that key (locally: put the state folder's secrets.json back) and start again"
)


def fingerprint(key: bytes) -> bytes:
    """16 bytes that tell wrapping keys apart, and tell nothing about them."""
    return hmac.new(key, b"epicrisis wrapping key fingerprint v1", sha256).digest()[:16]


def remember(cur: psycopg.Cursor[Any], key: bytes) -> None:
    """Remember the first wrapping key that comes; check every later one. ``cur``: in the database ``keys``.

    Raises
    ------
    SettingsError
        It is another one, or the database was not provisioned by this release.
    """
    try:
        cur.execute(_SQL["remember_wrapping_key"], {"fingerprint": fingerprint(key)})
    except psycopg.errors.UndefinedTable:
        raise SettingsError("the database `keys` lacks a table: run `epicrisis provision`, then start again") from None
    check(cur, key)


def check(cur: psycopg.Cursor[Any], key: bytes) -> None:
    """Check the wrapping key against the one that is remembered, if any is.

    Raises
    ------
    SettingsError
        It is another one.
    """
    row = cur.execute(_SQL["wrapping_key"]).fetchone()
    if row is not None and bytes(row[0]) != fingerprint(key):
        raise SettingsError(ANOTHER)
