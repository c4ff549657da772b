"""The proxy does what it is told, or the tests that use it prove nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.processes.proxy import HOST, Proxy, commits, produces


class Echo:
    """Answers every chunk with itself, and keeps it."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads: list[threading.Thread] = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._echo, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while chunk := connection.recv(65536):
                    self.got.append(chunk)
                    connection.sendall(chunk)
            except OSError:
                return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def echo() -> Iterator[Echo]:
    found = Echo()
    yield found
    found.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    found = Proxy(echo.port)
    yield found
    found.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, proxy.port), timeout=10) as found:
        yield found


def ask(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(65536)


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_it_passes_on(client: socket.socket) -> None:
    assert ask(client, b"hello") == b"hello"


def test_latency_counts_both_ways(client: socket.socket, proxy: Proxy) -> None:
    proxy.latency = 0.1
    began = time.monotonic()
    assert ask(client, b"x") == b"x"
    assert time.monotonic() - began >= 0.2


def test_a_rate_slows_down(client: socket.socket, proxy: Proxy) -> None:
    proxy.rate = 10_000
    began = time.monotonic()
    assert ask(client, b"x" * 1_000)
    assert time.monotonic() - began >= 0.1


def test_a_cut_ends_connections_and_lets_new_ones_in(client: socket.socket, proxy: Proxy) -> None:
    assert ask(client, b"x") == b"x"
    assert proxy.cut() == 1
    assert ended(client)
    with socket.create_connection((HOST, proxy.port), timeout=10) as again:
        assert ask(again, b"y") == b"y"


def test_closed_means_that_nobody_gets_through(proxy: Proxy, echo: Echo) -> None:
    proxy.closed = True
    with socket.create_connection((HOST, proxy.port), timeout=10) as refused:
        assert ended(refused)
    assert echo.got == []


def test_half_open_connections_answer_nothing_and_end_when_it_is_over(
    client: socket.socket, proxy: Proxy, echo: Echo
) -> None:
    assert ask(client, b"x") == b"x"
    proxy.silent = True
    with socket.create_connection((HOST, proxy.port), timeout=10) as late:
        for one in (client, late):
            one.settimeout(0.2)
            with pytest.raises(TimeoutError):
                ask(one, b"y")
        proxy.heal()
        for one in (client, late):
            one.settimeout(10)
            assert ended(one)
    assert echo.got == [b"x"]


def test_an_answer_is_lost_after_the_request_was_carried_out(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    proxy.lose = commits
    assert ask(client, b"BEGIN") == b"BEGIN"
    client.sendall(b"Q\0\0\0\x0bCOMMIT\0")
    assert ended(client)
    assert echo.got[-1].endswith(b"COMMIT\0")
    assert proxy.lost == 1


def test_it_tells_produce_requests_from_others() -> None:
    assert produces(b"\0\0\x01\x00" + b"\0\0" + b"\0\x0b" + b"rest")
    assert not produces(b"\0\0\x01\x00" + b"\0\x01" + b"\0\x0b" + b"rest")  # Fetch
    assert not produces(b"\0\0")
