"""The role `mllp`: the server wired from the settings; several processes on one port where asked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

from epicrisis import logging
from epicrisis.assembly import intakes, quarantine, seldom_collect
from epicrisis.doors.hl7v2.door import Door, Maps
from epicrisis.doors.hl7v2.senders import Senders
from epicrisis.doors.hl7v2.server import Limits, Server, tls_context
from epicrisis.errors import EpicrisisError, SettingsError
from epicrisis.operators import read_operators
from epicrisis.settings import Settings

log = logging.get(__name__)


def run(settings: Settings, *, host: str, port: int, shared: bool = False) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises
    ------
    SettingsError
        A manifest, a mapping table or a TLS file is wrong, or the port is taken.
    """
    operators = read_operators(settings.operators_folder)
    maps = Maps(operators)
    for name in operators:
        maps.of(name)  # a wrong line is told at the start, not by a message
    kept = quarantine(settings)
    senders = Senders(operators)
    intake = intakes(settings)

    def door() -> Door:
        return Door(senders, maps, intake(), kept)

    limits = Limits(
        frame=settings.mllp_frame_bytes,
        connections=settings.mllp_connections,
        idle=settings.mllp_idle_seconds,
        messages=settings.mllp_messages,
    )
    seldom_collect()
    asyncio.run(_serve(Server(door, limits), settings, host, port, shared))


async def _serve(server: Server, settings: Settings, host: str, port: int, shared: bool) -> None:
    tls = None
    files = (settings.mllp_tls_certificate, settings.mllp_tls_key, settings.mllp_tls_clients)
    if any(files):
        certificate, key, clients = files
        if certificate is None or key is None or clients is None:
            raise SettingsError("set EPICRISIS_MLLP_TLS_CERTIFICATE, _KEY and _CLIENTS, all three, or none")
        tls = tls_context(certificate, key, clients)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    listening = await server.listen(host, port, tls=tls, shared=shared)
    log.info("listening", door="hl7v2", port=listening.sockets[0].getsockname()[1])
    await stopped.wait()
    listening.close()
    await server.stop()


def run_many(count: int, *, host: str, port: int, metrics_port: int | None, metrics_host: str) -> None:
    """``count`` processes on one port, until SIGTERM or SIGINT; where one of them ends, all do.

    Raises
    ------
    EpicrisisError
        One of them has ended by itself.
    """
    words = [sys.executable, "-m", "epicrisis", "mllp", "--host", host, "--port", str(port), "--shared-port"]
    words += ["--metrics-host", metrics_host]
    metrics = [["--metrics-port", str(metrics_port + n)] if metrics_port else [] for n in range(count)]
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    children = [subprocess.Popen([*words, *more], env=os.environ) for more in metrics]
    try:
        while not stopped.wait(0.2):
            if any(child.poll() is not None for child in children):
                raise EpicrisisError("one of the processes has ended: its last log line says why")
    finally:
        for child in children:
            child.terminate()
        deadline = time.monotonic() + 20
        for child in children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
