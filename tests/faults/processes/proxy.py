"""A TCP proxy on loopback that does to its connections what networks do."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

HOST = "127.0.0.1"
CHUNK = 64 * 1024
TCP_REPAIR = 19
"""A socket in this state is closed without a packet (Linux; made for moving containers)."""


def commits(chunk: bytes) -> bool:
    """Whether these bytes ask PostgreSQL to commit."""
    return b"COMMIT" in chunk


def produces(chunk: bytes) -> bool:
    """Whether these bytes begin with a Produce request (api key 0, after four bytes of length; versions below 20)."""
    return chunk[4:7] == b"\0\0\0" and 3 <= chunk[7] <= 20 if len(chunk) > 7 else False


class Proxy:
    """Listens on `port`, passes on to `target`. What it does wrong may be set at any time; `heal` ends it all.

    latency     seconds before each chunk, in both directions
    rate        bytes per second at most, per direction of a connection; 0: no limit
    silent      takes connections and bytes, and passes nothing on: half-open
    closed      ends each new connection at once
    lose        ends a connection after the server has answered a request like this, without passing the answer on
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.latency = 0.0
        self.rate = 0
        self.silent = self.closed = False
        self.lose: Callable[[bytes], bool] | None = None
        self.lost = 0
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, HOST, 0)).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> int:
        """End every connection; how many there were."""

        async def cut() -> int:
            pairs = list(self._pairs)
            for pair in pairs:
                _abort(*pair)
            return len(pairs)

        return self._call(cut()).result()

    def forget(self) -> int:
        """Drop every connection without a word: the client hears nothing, as from a machine that lost its power.

        What it sends later is answered by the kernel, which knows no such connection. Needs Linux, and root.

        Raises
        ------
        PermissionError
            Not root.
        """

        async def forget() -> int:
            pairs = list(self._pairs)
            for client, server in pairs:
                client.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
                _abort(client, server)
            return len(pairs)

        return self._call(forget()).result()

    def heal(self) -> None:
        """Pass everything on again. Connections that were half-open are ended: the other side knows nothing of them."""
        if self.silent:
            self.cut()
        self.latency, self.rate, self.silent, self.closed, self.lose = 0.0, 0, False, False, None

    def close(self) -> None:
        async def close() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            for pair in list(self._pairs):
                _abort(*pair)
            await asyncio.gather(*others, return_exceptions=True)

        self._call(close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            _abort(writer)
            return
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter | None] = (writer, None)
        self._pairs.add(pair)
        try:
            while self.silent:
                await asyncio.sleep(0.02)
            if writer.is_closing():
                return
            there, thither = await asyncio.open_connection(HOST, self.target)
        except OSError:
            _abort(writer)
            return
        finally:
            self._pairs.discard(pair)
        pair = (writer, thither)
        self._pairs.add(pair)
        asked = asyncio.Event()  # a request was passed on whose answer is to be lost
        there_and_back = (self._pump(reader, thither, asked, out=True), self._pump(there, writer, asked, out=False))
        try:
            await asyncio.gather(*there_and_back)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._pairs.discard(pair)
            _abort(*pair)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Event, *, out: bool
    ) -> None:
        while chunk := await reader.read(CHUNK):
            if self.latency:
                await asyncio.sleep(self.latency)
            if self.rate:
                await asyncio.sleep(len(chunk) / self.rate)
            while self.silent:
                await asyncio.sleep(0.02)
            if writer.is_closing():
                break
            if out and self.lose is not None and self.lose(chunk):
                asked.set()
            elif not out and asked.is_set():
                self.lost += 1
                raise ConnectionError("the answer is lost")
            writer.write(chunk)
            await writer.drain()
        raise ConnectionError("one side has closed")


def _abort(*writers: asyncio.StreamWriter | None) -> None:
    for writer in writers:
        if writer is not None:
            with suppress(RuntimeError):
                writer.transport.abort()
