"""The role `serve`: intake's recovery loop, the schema registry's read-only routes, health; with a relay if asked."""

from __future__ import annotations

import threading
from collections.abc import Collection

import psycopg
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from epicrisis import logging
from epicrisis.assembly import codec, intake
from epicrisis.database import Database
from epicrisis.doors import health, registry
from epicrisis.doors.fhir_http import assembled as fhir_http
from epicrisis.errors import EpicrisisError
from epicrisis.found import services
from epicrisis.relay import Relay
from epicrisis.settings import Settings

RECOVER_SECONDS = 5.0

log = logging.get(__name__)


def app(settings: Settings, base: str) -> Starlette:
    """The HTTP application; ``base`` is the address of FHIR over HTTP. What no other route answers, that answers."""
    databases = {name: Database(settings.dsn_for(name, name), size=1, name=name) for name in services()}
    return Starlette(
        routes=[
            *registry.routes(codec().catalogue, settings.topic()),
            *health.routes(databases),
            Mount("", fhir_http.application(settings, base=base)),
        ]
    )


class Recovery(threading.Thread):
    """Finishes messages whose process was killed, every few seconds."""

    def __init__(self, settings: Settings, relay: Relay | None) -> None:
        super().__init__(name="recovery", daemon=True)
        self._intake = intake(settings, None if relay is None else lambda service, _: relay.wake(service))
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


def run(settings: Settings, *, host: str, port: int, relayed: Collection[str] = ()) -> None:
    """Serve until SIGTERM. ``relayed``: the services whose journals this process relays, woken at each append."""
    relay = Relay(settings, relayed) if relayed else None
    recovery = Recovery(settings, relay)
    if relay is not None:
        relay.start()
    recovery.start()
    try:
        served = app(settings, fhir_http.base_of(settings, host, port))
        uvicorn.Server(uvicorn.Config(served, host=host, port=port, log_config=None, access_log=False)).run()
    finally:
        recovery.stop()
        if relay is not None:
            relay.stop()
