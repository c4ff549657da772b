"""The MLLP server: many connections in one process, each answered in the order of its messages.

Nothing is read from a connection while a message of it is being handled: the sender waits, memory does not grow.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from epicrisis import logging
from epicrisis.doors.hl7v2.acknowledge import Header, acknowledgement
from epicrisis.doors.hl7v2.door import DOOR
from epicrisis.doors.hl7v2.errors import INTERNAL, Fault, Place
from epicrisis.doors.hl7v2.frames import Frames, Overrun, framed
from epicrisis.errors import SettingsError
from epicrisis.lockstep import Lockstep, Spares

THREADS = 1
_CHUNK = 32 * 1024
_PAUSE = 0.02

log = logging.get(__name__)


class Answers(Protocol):
    """What answers the content of a frame: `Door`, one for each at the same time."""

    def answer(self, content: bytes, certificate: str = "") -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of anything a server takes."""

    frame: int = 1024 * 1024
    """Bytes of a frame, a batch included."""
    held: int = 16 * 1024 * 1024
    """Bytes of all frames that are incomplete or wait to be handled. Beyond it, frames that are large already wait for
    their rest; small ones, as nearly all are, come in all the same.
    """
    connections: int = 256
    """Further ones are closed at once."""
    idle: float = 600.0
    """Seconds that a connection may say nothing."""
    complete: float = 30.0
    """Seconds until a frame that has begun must be there."""
    messages: int = 16
    """That are handled at the same time."""


class Server:
    """Listens, reads frames, has them answered by doors, several in step in each of few threads."""

    def __init__(self, door: Callable[[], Answers], limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._doors = Spares(door)
        self._pool = Lockstep(THREADS, -(-self._limits.messages // THREADS), "mllp")
        self._open: set[asyncio.Task[None]] = set()
        self._held = 0

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> asyncio.Server:
        """Take connections from a socket that listens."""
        return await asyncio.start_server(
            self._connected, sock=listener, limit=_CHUNK, ssl=tls, ssl_handshake_timeout=_handshake(tls)
        )

    async def begin(self, connection: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Take one that somebody else has accepted."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_CHUNK)
        await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader, self._connected),
            connection,
            ssl=tls,
            ssl_handshake_timeout=_handshake(tls),
        )

    async def stop(self) -> None:
        """Let the messages at hand be answered, then close every connection."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._pool.shutdown()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._limits.connections:
            log.warning("too many connections", door=DOOR, limit=self._limits.connections)
            writer.close()
            return
        self._open.add(task)
        try:
            await self._converse(reader, writer)
        except (TimeoutError, OSError, ssl.SSLError, asyncio.CancelledError):
            pass  # silence, a broken line, or the end of this process: the sender sends again what was not answered
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(TimeoutError, OSError, ssl.SSLError, asyncio.CancelledError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames(self._limits.frame)
        certificate = _fingerprint(writer)
        counted = 0
        try:
            while True:
                try:
                    due = 0.0
                    while (content := frames.next()) is None:
                        if frames.waiting and not due:
                            due = asyncio.get_running_loop().time() + self._limits.complete
                        data = await self._read(reader, due, large=frames.waiting > _CHUNK)
                        if not data:
                            return
                        frames.feed(data)
                        self._held += frames.waiting - counted
                        counted = frames.waiting
                except Overrun:
                    await self._too_long(frames, writer)
                    return
                self._held += len(content) + frames.waiting - counted
                counted = len(content) + frames.waiting
                # Cancelled, the answer is still waited for: it may have gone in.
                work = asyncio.get_running_loop().run_in_executor(self._pool, self._answer, content, certificate)
                answer = await _to_the_end(work)
                self._held += frames.waiting - counted
                counted = frames.waiting
                writer.write(framed(answer))
                async with asyncio.timeout(self._limits.complete):
                    await writer.drain()
        finally:
            self._held -= counted

    async def _read(self, reader: asyncio.StreamReader, due: float, *, large: bool) -> bytes:
        """What comes next, empty at the end. ``due``: when the frame at hand must be complete, 0: there is none."""
        async with asyncio.timeout_at(due or asyncio.get_running_loop().time() + self._limits.idle):
            while large and self._held > self._limits.held:
                await asyncio.sleep(_PAUSE)
            return await reader.read(_CHUNK)

    async def _too_long(self, frames: Frames, writer: asyncio.StreamWriter) -> None:
        log.warning("frame too long", door=DOOR, limit=self._limits.frame)
        fault = Fault(code=INTERNAL, place=Place(), text=f"a frame may have {self._limits.frame} bytes")
        writer.write(framed(acknowledgement(Header.of(frames.beginning()), "AR", "", [fault])))
        async with asyncio.timeout(1):
            await writer.drain()

    def _answer(self, content: bytes, certificate: str) -> bytes:
        try:
            with self._doors.one() as door:
                return door.answer(content, certificate)
        except Exception as problem:  # one message must not end the connection of others
            log.error("message not answered", door=DOOR, error=problem)
            fault = Fault(code=INTERNAL, place=Place(), text="not now: send it again")
            return acknowledgement(Header.of(content), "AR", "", [fault])


def _handshake(tls: ssl.SSLContext | None) -> float | None:
    """So many seconds may it take."""
    return 10 if tls else None


async def _to_the_end(future: asyncio.Future[bytes]) -> bytes:
    """The result; where this task is cancelled meanwhile, it ends after the result is there."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def _fingerprint(writer: asyncio.StreamWriter) -> str:
    """SHA-256 of the client's certificate, in hex; empty without TLS."""
    over: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    certificate = over.getpeercert(binary_form=True) if over is not None else None
    return sha256(certificate).hexdigest() if certificate else ""


def tls_context(certificate: Path, key: Path, clients: Path) -> ssl.SSLContext:
    """TLS for a server that asks for a client's certificate, issued by (or itself among) ``clients``.

    Raises
    ------
    SettingsError
        A file is not there, or not what it should be.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(str(certificate), str(key))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"TLS cannot be set up ({type(error).__name__}): see EPICRISIS_MLLP_TLS_CERTIFICATE, _KEY and _CLIENTS"
        ) from None
    return context
