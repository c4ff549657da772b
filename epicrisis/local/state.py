"""The state folder: secrets, remembered ports, run records, and the lock around them.

.epicrisis/
  lock            held while servers are started or stopped
  secrets.json    generated passwords and keys, mode 600
  ports.json      the ports chosen at the first start
  run/            one record per running server: pid, start time, port
  logs/           what the servers say
  kafka/ postgres/
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from epicrisis.errors import SettingsError, Unreachable

LOCK_SECONDS = 120.0


class State:
    """One state folder. Making the object touches nothing; the first write makes the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.secrets_file = self.folder / "secrets.json"
        self.ports_file = self.folder / "ports.json"
        self.run = self.folder / "run"
        self.logs = self.folder / "logs"

    def make(self) -> None:
        """Make the folder. Others may pass through it (PostgreSQL's own user must), but not list it."""
        try:
            self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.run.mkdir(mode=0o700, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"cannot make the state folder {self.folder} ({type(error).__name__}): "
                "name one that can be written, in EPICRISIS_STATE"
            ) from None

    @contextmanager
    def lock(self, name: str = "lock", seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold the folder's lock. The kernel lets go of it when the process dies, however it dies."""
        self.make()
        with (self.folder / name).open("a") as file:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Unreachable(
                            f"another epicrisis process has held {self.folder / name} for {seconds:.0f} s: "
                            "wait for it, or end it, then try again"
                        ) from None
                    time.sleep(0.05)
            yield

    def secret(self, name: str, *, create: bool) -> str | None:
        """The secret called `name`: 32 random bytes in URL-safe base64. Without `create`, None where there is none."""
        known = self._secrets().get(name)
        if known is not None or not create:
            return known
        with self.lock("secrets.lock"):
            kept = self._secrets()
            if name not in kept:
                kept[name] = secrets.token_urlsafe(32)
                write(self.secrets_file, kept)
            return kept[name]

    def expect(self, name: str) -> None:
        """Make sure that the secret called `name` is still there, with which data of this folder were made.

        Raises
        ------
        SettingsError
            It is not: a new one would not fit.
        """
        if self.secret(name, create=False) is None:
            raise SettingsError(f"{self.secrets_file} lacks {name}, with which the data here were made: {self.remedy}")

    @property
    def remedy(self) -> str:
        """What to do where the secrets are not those of the data."""
        return f"put the old secrets file back, or `epicrisis down`, remove {self.folder} and lose its data"

    def forget(self, prefix: str) -> None:
        """Remove the secrets whose names start with `prefix`."""
        if self.secrets_file.exists():
            with self.lock("secrets.lock"):
                write(self.secrets_file, {k: v for k, v in self._secrets().items() if not k.startswith(prefix)})

    def _secrets(self) -> dict[str, str]:
        try:
            return {str(k): str(v) for k, v in read(self.secrets_file).items()}
        except Damaged:
            raise SettingsError(f"{self.secrets_file} is damaged: {self.remedy}") from None

    def _ports(self) -> dict[str, Any]:
        """A damaged file is none: ports can be chosen anew."""
        try:
            return read(self.ports_file)
        except Damaged:
            return {}

    def port(self, name: str) -> int | None:
        """The port remembered for `name`, if any."""
        port = self._ports().get(name)
        return port if isinstance(port, int) and 0 < port < 65536 else None

    def remember_port(self, name: str, port: int) -> None:
        with self.lock("ports.lock"):
            write(self.ports_file, {**self._ports(), name: port})


class Damaged(SettingsError):
    """A file of the state folder is damaged: put a copy of it back."""


def read(file: Path) -> dict[str, Any]:
    """A small JSON object from a file; empty where there is no file.

    Raises
    ------
    Damaged
        It holds something else.
    SettingsError
        It belongs to another user.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        raise SettingsError(f"{file} belongs to another user: run as that user, or set EPICRISIS_STATE") from None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Damaged(f"{file} is damaged: put a copy of it back")
    return found


def write(file: Path, content: dict[str, Any]) -> None:
    """Replace a small JSON file in one step, readable by its owner only."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        json.dump(content, out, indent=1, sort_keys=True)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
