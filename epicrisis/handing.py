"""Several processes behind one port: the one that listens hands connections to them in turn.

Where all of them accept, whichever wakes first takes all that wait, and clients keep their connections: of four, one
process of two mostly had all or three while the other was idle.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from select import select

import uvicorn

from epicrisis import logging

LINE_BYTES = 16 * 1024
"""What a line holds; a connection takes some 800 of it. One that is stuck keeps no more than a few of them waiting."""
_READY, _HERE = b"r", b"c"

Answer = Callable[[socket.socket], None]
"""What such a process does, given its end of the line; it is sent there, so it can be pickled."""

log = logging.get(__name__)


class Processes:
    """So many processes, each at the other end of a line; one that ends is replaced."""

    def __init__(self, count: int, answer: Answer, listener: socket.socket) -> None:
        self._answer = answer
        self._listener = listener
        self._listener.setblocking(False)
        self._ready: list[socket.socket] = []
        """Whose turn is next, first."""
        self._running = dict(self._start() for _ in range(count))

    def run(self) -> None:
        """Hand out connections until SIGTERM or SIGINT; then all processes end."""
        ask, asked = socket.socketpair()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ask.send(b"s"))
        with ask, asked:
            while True:
                _, free, _ = select([], self._ready, [], 0)
                sources = [asked, *self._running, *([self._listener] if free else [])]
                readable, _, _ = select(sources, [] if free else self._ready, [])
                if asked in readable:
                    break
                for line in [line for line in self._running if line in readable]:
                    self._hear(line)
                if self._listener in readable:
                    self._hand_out([line for line in self._ready if line in free])
            self._listener.close()
            for process in self._running.values():
                process.terminate()
            for process in self._running.values():
                process.join()

    def _start(self) -> tuple[socket.socket, BaseProcess]:
        mine, its = socket.socketpair()
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINE_BYTES)
        with its:
            process = get_context("spawn").Process(target=self._answer, args=(its,), name="serve")
            process.start()
        return mine, process

    def _hear(self, line: socket.socket) -> None:
        """It is ready, or has ended."""
        with suppress(ConnectionError):
            if line.recv(1):
                self._ready.append(line)
                return
        line.close()
        process = self._running.pop(line)
        process.join()
        log.error("a process that answers has ended", status=process.exitcode)
        self._ready = [other for other in self._ready if other is not line]
        self._running |= [self._start()]

    def _hand_out(self, free: Collection[socket.socket]) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # who called has left
            return
        with connection:
            for line in free:
                try:
                    socket.send_fds(line, [_HERE], [connection.fileno()])
                except OSError:  # it is ending
                    continue
                self._ready.remove(line)
                self._ready.append(line)
                return


class Server(uvicorn.Server):
    """Answers on the connections that come along a line, until whoever hands them out is gone."""

    def __init__(self, config: uvicorn.Config, line: socket.socket) -> None:
        super().__init__(config)
        self._line = line
        self._beginning: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`; it listens nowhere."""
        await super().startup(sockets=[])
        self._line.setblocking(False)
        asyncio.get_running_loop().add_reader(self._line, self._take)
        self._line.send(_READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        asyncio.get_running_loop().remove_reader(self._line)
        await super().shutdown(sockets)

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.should_exit:
            try:
                said, descriptors, _, _ = socket.recv_fds(self._line, len(_HERE), 1)
            except BlockingIOError:
                return
            except ConnectionError:
                said = b""
            if not said:
                self.should_exit = True
                return
            connection = socket.socket(fileno=descriptors[0])
            connection.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
