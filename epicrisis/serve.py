"""The role `serve`: FHIR over HTTP, intake's recovery loop, the schema registry's read-only routes, health.

With a relay if asked.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

import psycopg
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from epicrisis import logging
from epicrisis.assembly import codec, intake, seldom_collect
from epicrisis.database import Database
from epicrisis.doors import health, registry
from epicrisis.doors.fhir_http import assembled as fhir_http
from epicrisis.errors import EpicrisisError, SettingsError
from epicrisis.found import services
from epicrisis.relay import Relay
from epicrisis.settings import Settings

RECOVER_SECONDS = 5.0
LOOK_SECONDS = 0.5
GRACE_SECONDS = 30
"""So long may a request go on when the process is asked to stop."""

log = logging.get(__name__)


def app(settings: Settings, base: str, relay: Relay | None = None) -> Starlette:
    """The HTTP application; ``base`` is the address of FHIR over HTTP. What no other route answers, that answers."""
    databases = {name: Database(settings.dsn_for(name, name), size=1, name=name) for name in services()}
    return Starlette(
        routes=[
            *registry.routes(codec().catalogue, settings.topic()),
            *health.routes(databases),
            Mount("", fhir_http.application(settings, base=base, on_append=_wake(relay))),
        ]
    )


def _wake(relay: Relay | None) -> Callable[[str, Collection[int]], None] | None:
    return None if relay is None else lambda service, _: relay.wake(service)


class Recovery(threading.Thread):
    """Finishes messages whose process was killed, every few seconds."""

    def __init__(self, settings: Settings, relay: Relay | None) -> None:
        super().__init__(name="recovery", daemon=True)
        self._intake = intake(settings, _wake(relay))
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                if count := self._intake.recover():
                    log.info("messages finished", count=count)
            except (psycopg.Error, EpicrisisError) as error:
                log.warning("recovery waits", error=error)
            self._stop_asked.wait(RECOVER_SECONDS)

    def stop(self) -> None:
        """Finish the message at hand."""
        self._stop_asked.set()
        self.join()


def run(settings: Settings, *, host: str, port: int, relayed: Collection[str] = (), workers: int = 1) -> None:
    """Serve until SIGTERM. ``relayed``: the services whose journals this process relays; ``workers``: how many
    processes answer.

    Raises
    ------
    SettingsError
        Somebody else has the port, or there is no such host.
    """
    relay = Relay(settings, relayed) if relayed else None
    recovery = Recovery(settings, relay)
    base = fhir_http.base_of(settings, host, port)
    with _listening(host, port) as listener:
        if relay is not None:
            relay.start()
        recovery.start()
        try:
            if workers == 1:
                seldom_collect()
                _server(settings, base, relay).run(sockets=[listener])
            else:
                _in_processes(workers, settings, base, listener)
        finally:
            recovery.stop()
            if relay is not None:
                relay.stop()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
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


def _server(settings: Settings, base: str, relay: Relay | None = None) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app(settings, base, relay), log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
    )


def _in_processes(workers: int, *shared: Any) -> None:
    """Several processes that answer; one that ends is replaced."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    processes = [_start(*shared) for _ in range(workers)]
    while not stopped.wait(LOOK_SECONDS):
        for index, process in enumerate(processes):
            if not process.is_alive():
                log.error("a process that answers has ended", status=process.exitcode)
                processes[index] = _start(*shared)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _start(*shared: Any) -> BaseProcess:
    process = get_context("spawn").Process(target=_worker, args=(os.getpid(), *shared), name="serve")
    process.start()
    return process


def _worker(parent: int, settings: Settings, base: str, listener: socket.socket) -> None:
    """One of the processes. It ends when whoever started it is gone."""
    logging.configure("serve")
    seldom_collect()
    server = _server(settings, base)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        server.should_exit = True

    threading.Thread(target=watch, name="watch", daemon=True).start()
    server.run(sockets=[listener])
