"""MLLP (HL7's transport, release 1): a message between 0x0B and 0x1C 0x0D; and batches of messages in one frame."""

from __future__ import annotations

import re
from typing import NamedTuple

START = b"\x0b"
END = b"\x1c"
"""The CR that must follow is skipped like all between frames: some senders leave it out, or send LF."""

_HEADS = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*(MSH|FHS|BHS|BTS|FTS)(?=[^\w\s]|[\r\n]|\Z)")


class Overrun(Exception):
    """A frame is longer than the cap: nothing more can be understood on this connection."""


def framed(message: bytes) -> bytes:
    """A message as it goes over the wire."""
    return START + message + END + b"\r"


class Frames:
    """Cuts a stream into frames. What stands between frames is skipped; at most ``cap`` bytes of a frame are kept."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._kept = bytearray()
        self._inside = False
        self._from = 0

    @property
    def waiting(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._kept)

    def beginning(self) -> bytes:
        """The first bytes of a frame that is not complete."""
        return bytes(self._kept[:8192])

    def feed(self, data: bytes) -> None:
        """What has come in.

        Raises
        ------
        Overrun
            The frame at hand is too long.
        """
        if not self._inside and not self._kept:
            start = data.find(START)
            if start < 0:
                return
            data = data[start:]
        self._kept += data
        self._open()

    def next(self) -> bytes | None:
        """The next complete frame's content, None where there is none yet."""
        while self._inside:
            end = self._kept.find(END, self._from)
            if end < 0:
                self._from = len(self._kept)
                if len(self._kept) > self._cap:
                    raise Overrun
                return None
            if end > self._cap:
                raise Overrun
            content = bytes(self._kept[:end])
            del self._kept[: end + len(END)]
            self._inside, self._from = False, 0
            self._open()
            if START in content:  # a frame began again: its first part was cut off on the way
                content = content[content.rindex(START) + 1 :]
            return content
        return None

    def _open(self) -> None:
        if not self._inside:
            start = self._kept.find(START)
            if start < 0:
                self._kept.clear()
            else:
                del self._kept[: start + 1]
                self._inside, self._from = True, 0


class Batch(NamedTuple):
    """The messages of a frame. ``file`` and ``batch`` are the header segments that stand before them, or empty."""

    messages: list[bytes]
    file: bytes = b""
    batch: bytes = b""


def unbatched(content: bytes) -> Batch | None:
    """The messages of a batch (FHS, BHS, or several MSH in one frame); None where the frame is one message."""
    if content.count(b"MSH") <= 1 and b"FHS" not in content and b"BHS" not in content:
        return None
    heads = list(_HEADS.finditer(content))
    names = [head[1] for head in heads]
    if names.count(b"MSH") <= 1 and not {b"FHS", b"BHS"} & set(names):
        return None
    ends = [head.start() for head in heads[1:]] + [len(content)]
    parts = [(head[1], content[head.start(1) : end]) for head, end in zip(heads, ends, strict=True)]
    found = dict(reversed(parts))
    return Batch([part for name, part in parts if name == b"MSH"], found.get(b"FHS", b""), found.get(b"BHS", b""))
