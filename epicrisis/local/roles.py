"""The roles as processes on this machine, beside the local servers: for the demo, and to try things out."""

from __future__ import annotations

import os
import sys

from epicrisis.local.process import choose_port, running, start, stop
from epicrisis.local.state import State
from epicrisis.settings import PREFIX, Settings

ROLES = ("serve", "relay", "work")


def up(settings: Settings) -> dict[str, int]:
    """Start every role that does not run yet; their process ids by name."""
    state = State(settings.state)
    os.environ[f"{PREFIX}STATE"] = str(settings.state)
    os.environ[f"{PREFIX}NAMESPACE"] = settings.namespace
    pids: dict[str, int] = {}
    for role in ROLES:
        record = running(state, _name(settings, role))
        if record is None:
            port = choose_port(state, _name(settings, role)) if role == "serve" else 0
            words = [role, "--port", str(port)] if role == "serve" else [role]
            record = start(state, _name(settings, role), [sys.executable, "-m", "epicrisis", *words], port=port)
        pids[role] = record.pid
    return pids


def down(settings: Settings) -> list[str]:
    """Stop the roles, the publishing side first; the names of those that were running."""
    state = State(settings.state)
    return [role for role in ROLES if stop(state, _name(settings, role))]


def serve_port(settings: Settings) -> int | None:
    """Where `serve` listens, if it runs."""
    record = running(State(settings.state), _name(settings, "serve"))
    return record.port if record else None


def _name(settings: Settings, role: str) -> str:
    return f"{settings.namespace}-{role}"
