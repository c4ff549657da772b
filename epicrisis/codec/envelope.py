"""The envelope on the wire: Confluent framing and ``schemas/envelope.avsc``, by hand for speed and strictness.

What is written here is plain Avro, readable by every Avro library (a test reads and writes it with fastavro). Reading
is stricter than they are, one form per value: a length that is not minimal, is negative or points beyond the input,
text that is not UTF-8, and bytes after the end are refused, and nothing is allocated before its length was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec

from epicrisis.codec.catalogue import Release
from epicrisis.codec.reading import moment
from epicrisis.codec.writing import long, micros, text
from epicrisis.errors import CatalogueError, Poison, UnknownSchema
from epicrisis.event import Meta

SCHEMA_ID = 1822176698
"""The id of the envelope schema that this module was written for."""

MAX_VALUE = 17 * 1024 * 1024
"""The longest record value: a body of 16 MiB that nothing could compress, and its envelope."""
MAX_RECORD = MAX_VALUE + 512 * 1024
"""The longest record with its key and headers: the producer's limit."""
MAX_BATCH = MAX_RECORD + 512 * 1024
"""The longest batch, which is what a topic limits: one such record, and what is around it."""

_MEMO = 8192  # how many values each memo keeps before it starts anew
_NONE, _SOME = b"\x00", b"\x02"

_UUID = msgspec.msgpack.Decoder(UUID)

_UNREADABLE = (IndexError, UnicodeDecodeError, OverflowError)

Head = tuple[str, int, str, str, str]
Place = tuple[bytes, str, int]
"""Subject, service and seq."""
K = TypeVar("K")
V = TypeVar("V")


class Envelopes:
    """Writes and reads record values; remembers what repeats (subjects, keys, messages, types, clinics)."""

    def __init__(self, schema: Release) -> None:
        if schema.id != SCHEMA_ID:
            raise CatalogueError("schemas/envelope.avsc is not what epicrisis/codec/envelope.py writes: change both")
        self._prefix = b"\x00" + schema.id.to_bytes(4, "big")
        self._heads: dict[Head, bytes] = {}
        self._heads_read: dict[bytes, Head] = {}
        self._uuids: dict[bytes, UUID] = {}
        self._times: dict[bytes, datetime] = {}
        # what the last value written said, and how: a message's events say the same (each replaced whole, so that
        # threads may share it)
        self._recorded: tuple[datetime | None, bytes] = None, b""
        self._whence: tuple[tuple[UUID | None, ...], bytes] = (None, None, None), _NONE * 3
        # and what the last value read said, by its bytes
        self._whose_read: tuple[bytes, tuple[Head, UUID] | None] = b"", None
        self._whence_read: tuple[bytes, tuple[datetime, list[UUID | None]] | None] = b"", None

    def write(self, meta: Meta, id: bytes, subject: bytes, key: bytes, body: bytes) -> bytes:
        """The record value. ``id``, ``subject`` and ``key`` are the UUIDs' bytes; ``meta.key`` is not looked at."""
        before, after = self.around(meta, id, subject, key, body)
        return b"".join((*before, long(meta.seq), *after))

    def around(
        self, meta: Meta, id: bytes, subject: bytes, key: bytes, body: bytes
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """What stands before ``seq`` in the record value, and what behind it, in parts."""
        head = (meta.type, meta.version, meta.source, meta.operator, meta.clinic)
        head_bytes = self._heads.get(head)
        if head_bytes is None:
            head_bytes = text(head[0]) + long(head[1]) + text(head[2]) + text(head[3]) + text(head[4])
            _remember(self._heads, head, head_bytes)
        moment, recorded = self._recorded
        if moment is not meta.recorded:
            recorded = long(micros(meta.recorded))
            self._recorded = meta.recorded, recorded
        whence, ids = self._whence
        if whence[0] is not meta.message or whence[1] is not meta.correlation or whence[2] is not meta.causation:
            whence = meta.message, meta.correlation, meta.causation
            ids = b"".join(_NONE if id is None else _SOME + id.bytes for id in whence)
            self._whence = whence, ids
        effective = recorded if meta.effective is meta.recorded else long(micros(meta.effective))
        return (
            (self._prefix, id, head_bytes, subject),
            (text(meta.stream), effective, recorded, ids, _SOME, key, long(len(body)), body),
        )

    def read(self, value: bytes) -> tuple[Meta, bytes]:
        """The envelope of a record value, and the sealed body.

        Raises
        ------
        UnknownSchema
            It is framed, but under a schema that is not the envelope's.
        Poison
            It is no record value of ours.
        """
        self._framed(value)
        try:
            return self._read(value)
        except _UNREADABLE as error:
            raise _unreadable(error) from None

    def place(self, value: bytes) -> Place:
        """Subject, service and seq of a record value; what stands behind them is not looked at.

        Raises
        ------
        UnknownSchema, Poison
            As `read`, as far as it is looked at.
        """
        self._framed(value)
        try:
            head, at = self._head(value)
            seq, _ = _read_long(value, at + 16)
            return value[at : at + 16], head[2], seq
        except _UNREADABLE as error:
            raise _unreadable(error) from None

    def _framed(self, value: bytes) -> None:
        if value[:5] != self._prefix:
            raise _not_ours(value)
        if len(value) > MAX_VALUE:
            raise Poison(f"the value is {len(value)} bytes long, more than any event: find out who sent it", "too_long")

    def _read(self, value: bytes) -> tuple[Meta, bytes]:
        said, whose = self._whose_read
        if whose is not None and value.startswith(said, 21):
            at = 21 + len(said)
        else:
            whose, at = self._read_whose(value)
        head, subject = whose
        seq, at = _read_long(value, at)
        stream, at = _read_text(value, at)
        effective, at = self._read_time(value, at)
        said, whence = self._whence_read
        if whence is not None and value.startswith(said, at):
            at += len(said)
        else:
            whence, at = self._read_whence(value, at)
        recorded, ids = whence
        length, at = _read_long(value, at)
        if length != len(value) - at:
            where = "ends too early" if length > len(value) - at else "is not all of the value"
            raise Poison(f"the envelope {where}: compare the record with the journal", "bad_envelope")
        meta = Meta(
            id=uuid_of(value[5:21]),
            type=head[0],
            version=head[1],
            source=head[2],
            operator=head[3],
            clinic=head[4],
            subject=subject,
            seq=seq,
            stream=stream,
            effective=effective,
            recorded=recorded,
            message=ids[0],
            correlation=ids[1],
            causation=ids[2],
            key=ids[3],
        )
        return meta, value[at:]

    def _read_whose(self, value: bytes) -> tuple[tuple[Head, UUID], int]:
        head, at = self._head(value)
        whose = head, self._uuid(value, at)
        if at < 512:
            self._whose_read = value[21 : at + 16], whose
        return whose, at + 16

    def _read_whence(self, value: bytes, begin: int) -> tuple[tuple[datetime, list[UUID | None]], int]:
        recorded, at = self._read_time(value, begin)
        ids: list[UUID | None] = []
        for _ in range(4):
            flag = value[at]
            if flag == 0:
                ids.append(None)
                at += 1
            elif flag == 2:
                ids.append(self._uuid(value, at + 1))
                at += 17
            else:
                raise Poison("the envelope names no such union arm: compare it with the journal", "bad_envelope")
        whence = recorded, ids
        self._whence_read = value[begin:at], whence
        return whence, at

    def _head(self, value: bytes) -> tuple[Head, int]:
        at = _head_end(value)
        head = self._heads_read.get(value[21:at])
        return self._read_head(value) if head is None else (head, at)

    def _read_head(self, value: bytes) -> tuple[Head, int]:
        type, at = _read_text(value, 21)
        version, at = _read_long(value, at)
        source, at = _read_text(value, at)
        operator, at = _read_text(value, at)
        clinic, at = _read_text(value, at)
        head = type, version, source, operator, clinic
        if at < 512:
            _remember(self._heads_read, value[21:at], head)
        return head, at

    def _uuid(self, value: bytes, at: int) -> UUID:
        raw = value[at : at + 16]
        found = self._uuids.get(raw)
        if found is None:
            if len(raw) < 16:
                raise IndexError
            found = uuid_of(raw)
            _remember(self._uuids, raw, found)
        return found

    def _read_time(self, value: bytes, at: int) -> tuple[datetime, int]:
        raw = value[at : at + 8]  # a time between 1978 and 3111 takes 8 bytes
        found = self._times.get(raw)
        if found is not None:
            return found, at + 8
        count, end = _read_long(value, at)
        found = moment(count)
        if end == at + 8:
            _remember(self._times, raw, found)
        return found, end


def _head_end(value: bytes) -> int:
    """Where the head ends if its lengths and its version are single bytes. If not, the memo has no such bytes."""
    try:
        at = 23 + (value[21] >> 1)
        at += 1 + (value[at] >> 1)
        at += 1 + (value[at] >> 1)
        return at + 1 + (value[at] >> 1)
    except IndexError:
        return 21


def _not_ours(value: bytes) -> Poison:
    if len(value) < 5 or value[0] != 0:
        return Poison("the value is not framed as an event: find out who wrote it to this topic", "not_framed")
    id = int.from_bytes(value[1:5], "big")
    return UnknownSchema(f"the value's schema id {id} is not the envelope's: upgrade first, then retry")


def _unreadable(error: Exception) -> Poison:
    why = {"IndexError": "ends too early", "UnicodeDecodeError": "holds text that is not UTF-8"}
    text = why.get(type(error).__name__, "holds a time beyond the calendar")
    return Poison(f"the envelope {text}: compare the record with the journal", "bad_envelope")


def _remember(memo: dict[K, V], key: K, value: V) -> None:
    if len(memo) >= _MEMO:
        memo.clear()
    memo[key] = value


def _read_long(value: bytes, at: int) -> tuple[int, int]:
    byte = value[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    rest, shift = byte & 0x7F, 7
    while True:
        byte = value[at]
        at += 1
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise Poison("a number in the envelope is too long: compare it with the journal", "bad_envelope")
    if byte == 0 or rest >> 64:
        raise Poison("a number in the envelope is not in its shortest form: it was not written by us", "bad_envelope")
    return (rest >> 1) ^ -(rest & 1), at


def _read_text(value: bytes, at: int) -> tuple[str, int]:
    byte = value[at]
    length, at = (byte >> 1, at + 1) if not byte & 0x81 else _read_long(value, at)
    end = at + length
    if length < 0 or end > len(value):
        raise IndexError
    return value[at:end].decode(), end


def uuid_of(raw: bytes) -> UUID:
    """The UUID of 16 bytes, in a third of the time that `UUID` takes: msgspec builds it in C."""
    return _UUID.decode(b"\xc4\x10" + raw)
