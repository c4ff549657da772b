"""What an event says about itself in clear: the envelope of a sealed record (``schemas/envelope.avsc``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from .merkle import Wrong


@dataclass(frozen=True)
class Envelope:
    """Who, when and where of an event; its body stays sealed."""

    id: UUID
    type: str
    version: int
    source: str
    operator: str
    clinic: str
    subject: UUID
    seq: int
    stream: str
    effective: datetime
    recorded: datetime
    message: UUID | None
    correlation: UUID | None
    causation: UUID | None
    key: UUID | None
    body: bytes

    @classmethod
    def parse(cls, value: bytes) -> Envelope:
        """From a record value: 0x00, 4 bytes of schema id, Avro.

        Raises
        ------
        Wrong
            It is not one.
        """
        try:
            reader = _Reader(value)
            if reader.take(1) != b"\0":
                raise Wrong("an event is not framed as one")
            reader.take(4)
            found = cls(
                reader.uuid(),
                reader.text(),
                reader.long(),
                reader.text(),
                reader.text(),
                reader.text(),
                reader.uuid(),
                reader.long(),
                reader.text(),
                reader.moment(),
                reader.moment(),
                reader.optional(),
                reader.optional(),
                reader.optional(),
                reader.optional(),
                reader.take(reader.long()),
            )
        except (UnicodeDecodeError, OverflowError):
            raise Wrong("an event's envelope cannot be read") from None
        if reader.at != len(value):
            raise Wrong("an event has bytes after its end")
        return found


class _Reader:
    def __init__(self, value: bytes) -> None:
        self.value = value
        self.at = 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.value) - self.at:
            raise Wrong("an event ends too early")
        self.at += count
        return self.value[self.at - count : self.at]

    def long(self) -> int:
        found = shift = 0
        while True:
            byte = self.take(1)[0]
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (found >> 1) ^ -(found & 1)
            if shift > 63:
                raise Wrong("a number in an event is too long")

    def text(self) -> str:
        return self.take(self.long()).decode()

    def uuid(self) -> UUID:
        return UUID(bytes=self.take(16))

    def optional(self) -> UUID | None:
        branch = self.long()
        if branch not in (0, 1):
            raise Wrong("an event's envelope cannot be read")
        return self.uuid() if branch else None

    def moment(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.long())
