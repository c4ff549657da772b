"""Processes that outlive the command that started them: start, recognise, stop; and free ports."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from epicrisis.errors import SettingsError, Unreachable
from epicrisis.local import launch
from epicrisis.local.launch import start_time
from epicrisis.local.state import State, read

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What `run/<name>.json` says about a server."""

    pid: int
    started: str
    port: int


def running(state: State, name: str) -> Record | None:
    """The record of the server called `name`, if it is the same process that was started then."""
    try:
        found = read(state.run / f"{name}.json")
        record = Record(pid=int(found["pid"]), started=str(found["started"]), port=int(found["port"]))
    except (KeyError, TypeError, ValueError, SettingsError):
        return None  # a damaged record is no record
    reap(record.pid)
    return record if start_time(record.pid) == record.started else None


def start(state: State, name: str, command: Sequence[str], *, port: int, user: str = "-") -> Record:
    """Start a server in a session of its own, so that it outlives us; it writes its own record first."""
    file = state.run / f"{name}.json"
    file.unlink(missing_ok=True)
    log = state.logs / f"{name}.out"
    with log.open("ab") as out:
        child = subprocess.Popen(
            launched(command, record=str(file), port=port, user=user),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + 30
    while (record := running(state, name)) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            raise Unreachable(f"{name} could not be started; the reason, from {log}:\n{tail(log)}")
        time.sleep(0.01)
    child.returncode = 0  # nobody waits for it: it belongs to init once we are gone
    return record


def launched(command: Sequence[str], *, record: str = "-", port: int = 0, user: str = "-") -> list[str]:
    """The command, run by `launch`."""
    return [sys.executable, "-I", "-S", launch.__file__, record, str(port), user, *command]


def stop(state: State, name: str, gently: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> bool:
    """Stop the server called `name`; kill it after `seconds`. False where none was running."""
    record = running(state, name)
    if record is not None:
        for sign, patience in ((gently, seconds), (signal.SIGKILL, 10.0)):
            try:
                os.kill(record.pid, sign)
            except ProcessLookupError:
                break
            if wait_gone(record, patience):
                break
    (state.run / f"{name}.json").unlink(missing_ok=True)
    return record is not None


def wait_gone(record: Record, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        reap(record.pid)
        if start_time(record.pid) != record.started:
            return True
        time.sleep(0.05)
    return False


def reap(pid: int) -> None:
    """Take the exit status, where the process is our own child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def choose_port(state: State, name: str) -> int:
    """The remembered port of `name`, or a new one where there is none or somebody else has it."""
    remembered = state.port(name)
    if remembered is not None and is_free(remembered):
        return remembered
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    state.remember_port(name, port)
    return port


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for a server
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def tail(file: Path, lines: int = 5) -> str:
    """The last lines of a log, for an error message about a server that did not start."""
    try:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
