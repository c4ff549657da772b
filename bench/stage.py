"""A stage for a benchmark: local servers, a namespace of its own, roles as processes."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from epicrisis import local
from epicrisis.local.process import LOOPBACK
from epicrisis.provision import drop, postgres, provision
from epicrisis.settings import Settings

_common: list[Settings] = []


@contextmanager
def stage(partitions: int = 16, *, kafka: bool = True, own: bool = True) -> Iterator[Settings]:
    """Settings of a provisioned namespace; dropped at the end. Without ``kafka`` it has databases only.

    ``own=False``: what others have left does not matter here, so that a short run may share one namespace.
    """
    if _common and not own:
        yield _common[0]
        return
    settings = Settings.read(namespace=f"bench_{secrets.token_hex(3)}", partitions=partitions)
    local.up(settings)
    (provision if kafka else postgres.provision)(settings)
    try:
        yield settings
    finally:
        (drop if kafka else postgres.drop)(settings)
        settings.forget_secrets()


@contextmanager
def common_stage() -> Iterator[None]:
    """One namespace for every benchmark that does not need its own: provisioning takes longer than a short run."""
    with stage() as settings:
        _common.append(settings)
        try:
            yield
        finally:
            _common.clear()


ROOT = Path(__file__).parents[1]


class Process:
    """A process under measurement; its memory and processor time are read from the kernel.

    ``given`` is the first line of its stdin, as JSON; what it says on stdout is read line by line.
    """

    def __init__(self, settings: Settings, command: Sequence[str], given: Any = None, **environment: str) -> None:
        environment |= {"EPICRISIS_NAMESPACE": settings.namespace, "EPICRISIS_STATE": str(settings.state)}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by stop)
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self.pid = self._process.pid
        self.tell(json.dumps(given))

    def tell(self, line: str) -> None:
        """One line to its stdin."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def line(self) -> str:
        """The next line of its stdout, empty where it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def check(self) -> None:
        """RuntimeError with the last line of its stderr where it has ended."""
        if self._process.poll() is not None:
            self._said.seek(0)
            lines = self._said.read().splitlines() or ["nothing said"]
            raise RuntimeError(f"a process has ended: {lines[-1]}")

    def peak_mib(self) -> float:
        """The most memory it ever had, in MiB (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time so far, user and system, its children's included."""
        return sum(_cpu_seconds(self.pid))

    def stop(self, *, kindly: bool = True) -> None:
        """SIGTERM (or, unkindly, SIGKILL), and wait."""
        (self._process.terminate if kindly else self._process.kill)()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._said.close()


class Role(Process):
    """A role as a process."""

    def __init__(self, settings: Settings, *words: str, module: str = "epicrisis", **environment: str) -> None:
        super().__init__(settings, [sys.executable, "-m", module, *words], **environment)


@contextmanager
def roles(settings: Settings, *commands: tuple[str, ...]) -> Iterator[list[Role]]:
    """These roles, running; stopped at the end."""
    running = [Role(settings, *words) for words in commands]
    try:
        yield running
    finally:
        for role in reversed(running):
            role.stop()


@contextmanager
def listening(
    settings: Settings, *words: str, operator: str, files: Mapping[str, str], module: str = "epicrisis"
) -> Iterator[tuple[Role, int]]:
    """A role that clinics connect to, with one operator whose folder has these files; its port, when it listens."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / operator
        own.mkdir()
        for name, content in files.items():
            (own / name).write_text(content, encoding="utf-8")
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        role = Role(settings, *words, "--port", str(port), module=module, EPICRISIS_OPERATORS=folder)
        try:
            _await(role, port)
            yield role, port
        finally:
            role.stop()


def _await(role: Role, port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        role.check()
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError("the server does not listen")


def _cpu_seconds(pid: int) -> Iterator[float]:
    """Of a process and of its children, each."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    yield (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _cpu_seconds(int(child))


class Watch:
    """Wall time and the whole machine's busy share, for the line beside a figure."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._cpu = _machine()

    def __call__(self) -> tuple[float, float]:
        """Seconds, and how busy all processors were meanwhile (0..1)."""
        busy, total = (now - then for now, then in zip(_machine(), self._cpu, strict=True))
        return time.monotonic() - self._began, busy / max(1, total)


def _machine() -> tuple[int, int]:
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
