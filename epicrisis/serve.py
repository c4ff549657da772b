"""The role `serve`: FHIR over HTTP, intake's recovery loop, the schema registry's read-only routes, health.

With a relay if asked.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection
from functools import partial

import psycopg
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from epicrisis import logging
from epicrisis.assembly import codec, intake, seldom_collect
from epicrisis.database import Database
from epicrisis.doors import health, registry
from epicrisis.doors.fhir_http import assembled as fhir_http
from epicrisis.errors import EpicrisisError
from epicrisis.found import services
from epicrisis.handing import Processes, Server, listening
from epicrisis.relay import Relay
from epicrisis.settings import Settings

RECOVER_SECONDS = 5.0
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
    with listening(host, port) as listener:
        if relay is not None:
            relay.start()
        recovery.start()
        try:
            if workers == 1:
                seldom_collect()
                uvicorn.Server(_config(settings, base, relay)).run(sockets=[listener])
            else:
                Processes(workers, partial(_answer, settings, base), listener).run()
        finally:
            recovery.stop()
            if relay is not None:
                relay.stop()


def _config(settings: Settings, base: str, relay: Relay | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        app(settings, base, relay), log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS
    )


def _answer(settings: Settings, base: str, _: int, line: socket.socket) -> None:
    """One of several processes: it answers on the connections that it is handed."""
    logging.configure("serve")
    seldom_collect()
    Server(_config(settings, base), line).run()
