"""Both servers together: up, down, status. Each command may be repeated at will."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from epicrisis.errors import Unreachable
from epicrisis.local import kafka, postgres
from epicrisis.local.process import LOOPBACK, running
from epicrisis.local.state import State

if TYPE_CHECKING:
    from epicrisis.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the local servers listen."""

    kafka_bootstrap: str
    pg_host: str
    pg_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One server, as `epicrisis status` shows it. `where` is host:port."""

    name: str
    state: str
    where: str = ""
    pid: int | None = None


def up(settings: Settings) -> None:
    """Start what runs on this machine and is not running, both at the same time, and wait until both let us in."""
    state = State(settings.state)
    wanted = [server.up for server, local in parts(settings) if local]
    with state.lock(), ThreadPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(start, state) for start in wanted]:
            future.result()


def down(settings: Settings) -> None:
    """Stop what runs on this machine under this state folder. What was stored stays."""
    state = State(settings.state)
    if not state.folder.exists():
        return
    with state.lock(), ThreadPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(stop, state) for stop in (kafka.down, postgres.down)]:
            future.result()


def status(settings: Settings) -> list[Part]:
    """Each server: running, stopped, or named in the settings and so not ours to start."""
    state = State(settings.state)
    found = []
    for server, local in parts(settings):
        record = running(state, server.NAME)
        if not local:
            found.append(Part(name=server.NAME, state="elsewhere", where=settings.address(server.NAME)))
        elif record is None:
            found.append(Part(name=server.NAME, state="stopped"))
        else:
            where = f"{LOOPBACK}:{record.port}"
            found.append(Part(name=server.NAME, state="running", where=where, pid=record.pid))
    return found


def endpoints(settings: Settings) -> Endpoints:
    """Where the local servers listen.

    Raises
    ------
    Unreachable
        One does not: it may be started later.
    """
    return Endpoints(
        kafka_bootstrap=f"{LOOPBACK}:{kafka_port(settings)}", pg_host=LOOPBACK, pg_port=postgres_port(settings)
    )


def kafka_port(settings: Settings) -> int:
    return _port(settings, kafka.NAME, "Kafka", "a broker in EPICRISIS_KAFKA_BOOTSTRAP")


def postgres_port(settings: Settings) -> int:
    return _port(settings, postgres.NAME, "PostgreSQL", "a server in EPICRISIS_DSN")


def _port(settings: Settings, name: str, title: str, instead: str) -> int:
    state = State(settings.state)
    record = running(state, name)
    if record is None:
        raise Unreachable(
            f"the local {title} is not running, of the state folder {state.folder} (EPICRISIS_STATE names another): "
            f"start it with `epicrisis up`, or name {instead}"
        )
    return record.port


def parts(settings: Settings) -> tuple[tuple[ModuleType, bool], ...]:
    return ((kafka, settings.local_kafka), (postgres, settings.local_postgres))
