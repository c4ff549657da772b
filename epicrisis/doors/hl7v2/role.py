"""The role `mllp`: the server wired from the settings; several processes behind one port where asked."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial

from epicrisis import logging
from epicrisis.assembly import intakes, quarantine, seldom_collect
from epicrisis.doors.hl7v2.door import Door, Maps
from epicrisis.doors.hl7v2.senders import Senders
from epicrisis.doors.hl7v2.server import Limits, Server, tls_context
from epicrisis.errors import SettingsError
from epicrisis.handing import Processes, Taking, listening
from epicrisis.operators import read_operators
from epicrisis.settings import Settings

log = logging.get(__name__)


def run(settings: Settings, *, host: str, port: int, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT. ``workers``: how many processes answer.

    Raises
    ------
    SettingsError
        A manifest, a mapping table or a TLS file is wrong, or the port is taken.
    """
    doors, tls = _doors(settings), _tls(settings)
    with listening(host, port) as listener:
        log.info("listening", door="hl7v2", port=listener.getsockname()[1])
        if workers == 1:
            asyncio.run(_alone(_server(settings, doors), tls, listener))
        else:
            Processes(workers, partial(_answer, settings), listener).run()


async def _alone(server: Server, tls: ssl.SSLContext | None, listener: socket.socket) -> None:
    stopped = _stopped()
    accepting = await server.listen(listener, tls)
    await stopped.wait()
    accepting.close()
    await server.stop()


def _answer(settings: Settings, _: int, line: socket.socket) -> None:
    """One of several processes: it answers on the connections that it is handed."""
    logging.configure("mllp")
    asyncio.run(_handed(_server(settings, _doors(settings)), _tls(settings), line))


async def _handed(server: Server, tls: ssl.SSLContext | None, line: socket.socket) -> None:
    stopped = _stopped()
    taking = Taking(line, partial(server.begin, tls=tls), stopped.set)
    await stopped.wait()
    taking.stop()
    await server.stop()


def _stopped() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _server(settings: Settings, doors: Callable[[], Door]) -> Server:
    seldom_collect()
    limits = Limits(
        frame=settings.mllp_frame_bytes,
        connections=settings.mllp_connections,
        idle=settings.mllp_idle_seconds,
        messages=settings.mllp_messages,
    )
    return Server(doors, limits)


def _doors(settings: Settings) -> Callable[[], Door]:
    operators = read_operators(settings.operators_folder)
    maps = Maps(operators)
    for name in operators:
        maps.of(name)  # a wrong line is told at the start, not by a message
    kept = quarantine(settings)
    senders = Senders(operators)
    intake = intakes(settings)

    def door() -> Door:
        return Door(senders, maps, intake(), kept)

    return door


def _tls(settings: Settings) -> ssl.SSLContext | None:
    files = (settings.mllp_tls_certificate, settings.mllp_tls_key, settings.mllp_tls_clients)
    if not any(files):
        return None
    certificate, key, clients = files
    if certificate is None or key is None or clients is None:
        raise SettingsError("set EPICRISIS_MLLP_TLS_CERTIFICATE, _KEY and _CLIENTS, all three, or none")
    return tls_context(certificate, key, clients)
