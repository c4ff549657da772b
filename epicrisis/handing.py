"""Several processes behind one port: the one that listens hands connections to them in turn.

Where all of them accept, whichever wakes first takes all that wait, and clients keep their connections: of four, one
process of two mostly had all or three while the other was idle.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from select import select

import uvicorn

from epicrisis import logging
from epicrisis.errors import EpicrisisError, SettingsError

LINE_BYTES = 16 * 1024
"""What a line holds; a connection takes some 800 of it. One that is stuck keeps no more than a few of them waiting."""
END_SECONDS = 40.0
"""So long may they take to end; what is cut off then is finished as after any kill."""
_READY, _HERE = b"r", b"c"

Answer = Callable[[int, socket.socket], None]
"""What such a process does, given which of them it is, from 0, and its end of the line; it is sent there, so it can be
pickled.
"""

log = logging.get(__name__)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there.

    Raises
    ------
    SettingsError
        Somebody else has the port, or there is no such host.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {host}:{port} ({type(error).__name__}): name another --port or --host"
        ) from None
    with listener:
        # asyncio does this only for sockets that name their protocol. Without it every answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


class Processes:
    """So many processes, each at the other end of a line; one that ends is replaced."""

    def __init__(self, count: int, answer: Answer, listener: socket.socket) -> None:
        self._answer = answer
        self._listener = listener
        self._listener.setblocking(False)
        self._ready: list[socket.socket] = []
        """Whose turn is next, first."""
        self._complete = False
        """Whether all have been ready: before, the first one would get all clients that wait for a restart."""
        self._running = dict(map(self._start, range(count)))

    def run(self) -> None:
        """Hand out connections until SIGTERM or SIGINT; then all processes end.

        Raises
        ------
        EpicrisisError
            One has ended before it was ready, and none is.
        """
        ask, asked = socket.socketpair()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ask.send(b"s"))
        with ask, asked, closing(self):
            while True:
                turn = self._ready if self._complete else []
                _, free, _ = select([], turn, [], 0)
                sources = [asked, *self._running, *([self._listener] if free else [])]
                readable, _, _ = select(sources, [] if free else turn, [])
                if asked in readable:
                    break
                for line in [line for line in self._running if line in readable]:
                    self._hear(line)
                if self._listener in readable:
                    self._hand_out([line for line in turn if line in free])

    def close(self) -> None:
        """Hear nobody any more, and let all processes end."""
        self._listener.close()
        for _, process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for _, process in self._running.values():
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()

    def _start(self, number: int) -> tuple[socket.socket, tuple[int, BaseProcess]]:
        mine, its = socket.socketpair()
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINE_BYTES)
        with its:
            process = get_context("spawn").Process(target=self._answer, args=(number, its))
            process.start()
        return mine, (number, process)

    def _hear(self, line: socket.socket) -> None:
        """It is ready, or has ended."""
        with suppress(ConnectionError):
            if line.recv(1):
                self._ready.append(line)
                self._complete = self._complete or len(self._ready) == len(self._running)
                return
        line.close()
        number, process = self._running.pop(line)
        process.join()
        log.error("a process that answers has ended", status=process.exitcode)
        if not self._ready:
            raise EpicrisisError("no process could begin to answer: the last log line of one says why")
        self._ready = [other for other in self._ready if other is not line]
        self._running |= [self._start(number)]

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


class Taking:
    """The connections that come along a line, in the loop that is running, until whoever hands them out is gone."""

    def __init__(
        self, line: socket.socket, begin: Callable[[socket.socket], Awaitable[object]], gone: Callable[[], None]
    ) -> None:
        self._line = line
        self._begin = begin
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Future[object]] = set()
        line.setblocking(False)
        self._loop.add_reader(line, self._take)
        line.send(_READY)

    def stop(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._line)

    def _take(self) -> None:
        while True:
            try:
                said, descriptors, _, _ = socket.recv_fds(self._line, len(_HERE), 1)
            except BlockingIOError:
                return
            except ConnectionError:
                said = b""
            if not said:
                self.stop()
                self._gone()
                return
            connection = socket.socket(fileno=descriptors[0])
            connection.setblocking(False)
            beginning = asyncio.ensure_future(self._begin(connection))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._begun)

    def _begun(self, beginning: asyncio.Future[object]) -> None:
        self._beginning.discard(beginning)
        if not beginning.cancelled():
            beginning.exception()  # it has left again, or is none that TLS lets in: nobody's trouble


class Server(uvicorn.Server):
    """Answers HTTP on the connections that come along a line."""

    def __init__(self, config: uvicorn.Config, line: socket.socket) -> None:
        super().__init__(config)
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`; it listens nowhere."""
        await super().startup(sockets=[])
        self._taking = Taking(self._line, self._connected, self._end)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        self._taking.stop()
        await super().shutdown(sockets)

    def _connected(self, connection: socket.socket) -> Awaitable[object]:
        return asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _end(self) -> None:
        self.should_exit = True

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
