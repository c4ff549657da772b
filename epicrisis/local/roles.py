"""The roles as processes on this machine, beside the local servers: for the demo, and to try things out."""

from __future__ import annotations

import os
import sys

from epicrisis.local import operators
from epicrisis.local.process import LOOPBACK, choose_port, running, start, stop
from epicrisis.local.servers import Part
from epicrisis.local.state import State
from epicrisis.settings import PREFIX, Settings

ROLES = ("serve", "relay", "work", "checkpoint", "inbox", "mllp")
LISTENING = ("serve", "mllp")


def up(settings: Settings) -> dict[str, int]:
    """Start every role that does not run yet; their process ids by name."""
    state = State(settings.state)
    os.environ[f"{PREFIX}STATE"] = str(settings.state)
    os.environ[f"{PREFIX}NAMESPACE"] = settings.namespace
    operators.make(settings)
    pids: dict[str, int] = {}
    with state.lock("roles.lock"):
        for role in ROLES:
            record = running(state, _name(settings, role))
            if record is None:
                port = choose_port(state, _name(settings, role)) if role in LISTENING else 0
                words = [role, "--port", str(port)] if role in LISTENING else [role]
                record = start(state, _name(settings, role), [sys.executable, "-m", "epicrisis", *words], port=port)
            pids[role] = record.pid
    return pids


def down(settings: Settings) -> list[str]:
    """Stop the roles, of every namespace under this state folder: their servers stop with them.

    The publishing side first. Returns the names of those that were running.
    """
    state = State(settings.state)
    names = [file.stem for role in ROLES for file in sorted(state.run.glob(f"*-{role}.json"))]
    return [name.removeprefix(f"{settings.namespace}-") for name in names if stop(state, name)]


def status(settings: Settings) -> list[Part]:
    """Each role: running or stopped; where `serve` and `mllp` listen."""
    state = State(settings.state)
    found: list[Part] = []
    for role in ROLES:
        record = running(state, _name(settings, role))
        if record is None:
            found.append(Part(name=role, state="stopped"))
        else:
            where = f"{LOOPBACK}:{record.port}" if record.port else ""
            found.append(Part(name=role, state="running", where=where, pid=record.pid))
    return found


def serve_port(settings: Settings) -> int | None:
    """Where `serve` listens, if it runs."""
    record = running(State(settings.state), _name(settings, "serve"))
    return record.port if record else None


def _name(settings: Settings, role: str) -> str:
    return f"{settings.namespace}-{role}"
