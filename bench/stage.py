"""A stage for a benchmark: local servers, a namespace of its own, roles as processes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from epicrisis import local
from epicrisis.provision import drop, provision
from epicrisis.settings import Settings


@contextmanager
def stage(partitions: int = 16) -> Iterator[Settings]:
    """Settings of a provisioned namespace; dropped at the end."""
    settings = Settings.read(namespace=f"bench_{secrets.token_hex(3)}", partitions=partitions)
    local.up(settings)
    provision(settings)
    try:
        yield settings
    finally:
        drop(settings)


class Role:
    """A role as a process; its memory and processor time are read from the kernel."""

    def __init__(self, settings: Settings, *words: str) -> None:
        environment = {**os.environ, "EPICRISIS_NAMESPACE": settings.namespace, "EPICRISIS_STATE": str(settings.state)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "epicrisis", *words], env=environment, stderr=subprocess.DEVNULL
        )
        self.pid = self._process.pid

    def peak_mib(self) -> float:
        """The most memory it ever had, in MiB (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
            return
        self._process.kill()
        self._process.wait()


@contextmanager
def roles(settings: Settings, *commands: tuple[str, ...]) -> Iterator[list[Role]]:
    """These roles, running; stopped at the end."""
    running = [Role(settings, *words) for words in commands]
    try:
        yield running
    finally:
        for role in reversed(running):
            role.stop()


def shared_data() -> Path:
    """Where the measured input is: ``EPICRISIS_SHARED_DATA``, else ``../shared/data`` beside the checkout."""
    path = Path(os.environ.get("EPICRISIS_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        raise SystemExit(f"the input of this benchmark is not here: {path.name} (set EPICRISIS_SHARED_DATA)")
    return path


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
