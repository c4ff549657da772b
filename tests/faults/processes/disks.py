"""Disks that are full: a small tmpfs under a server's data, and a file that fills it."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg

from tests.acceptance.support import journal_total, ledger_total
from tests.faults.processes.history import Verdict
from tests.faults.processes.servers import Brokers, Database, Servers
from tests.faults.processes.stage import Stage


class NotAllowed(Exception):
    """This machine does not let us mount a tmpfs: nothing was tested."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A tmpfs at this place."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "tmpfs", str(folder)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, check=False)
    except FileNotFoundError:
        raise NotAllowed("not run: there is no mount on this machine") from None
    if done.returncode:
        raise NotAllowed("not run: a tmpfs may not be mounted here (root may)")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Disk:
    """A small file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take all the space that is left, to the last block."""
        with self._ballast.open("ab") as file:
            while (left := os.statvfs(self._folder)).f_bavail:
                with suppress(OSError):  # somebody else was faster
                    os.posix_fallocate(file.fileno(), file.tell(), left.f_bavail * left.f_frsize)
                    file.seek(0, os.SEEK_END)

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink()


def postgres_full(stage: Stage, scratch: Path) -> tuple[Verdict, Counter[str]]:
    """PostgreSQL's disk is full: tables cannot grow, then the WAL cannot, and the server goes down.

    Senders get errors and no answer, relays and workers wait; afterwards everything goes on.
    """
    with (
        small_disk(scratch / "state" / "postgres", 400) as disk,
        closing(Database(scratch / "state")) as database,
        stage.run("postgres-full", Servers(stage.servers.brokers, database)) as run,
    ):
        run.crew.pace = 0.05
        run.crew.until(lambda: ledger_total(run.near) > 0, "it begins")
        disk.fill()
        run.crew.until(lambda: run.crew.ended["import"] >= 3, "senders hear that something is wrong")
        assert "psycopg.errors.DiskFull" in run.crew.said("import"), "and what it is"
        _switch_wal(run.near.admin_dsn())
        run.crew.until(lambda: not database.answers(), "PostgreSQL cannot write its log and goes down")
        disk.free()
        database.kill()
        database.start()
        return run.check(), Counter({"PostgreSQL's disk full": 1})


def _switch_wal(dsn: str) -> None:
    """Make it need another file for its log, now."""
    with suppress(psycopg.Error), psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(100):
            connection.execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")


def kafka_full(stage: Stage, scratch: Path) -> tuple[Verdict, Counter[str]]:
    """The only broker's disk is full: it ends. Publishing waits, and goes on when it is started with space."""
    with (
        small_disk(scratch / "state" / "kafka", 100) as disk,
        closing(Brokers(scratch / "state", 1)) as brokers,
        stage.run("kafka-full", Servers(brokers, stage.servers.database)) as run,
    ):
        run.crew.pace = 0.2
        run.crew.until(lambda: ledger_total(run.near) > 0, "it begins")
        disk.fill()
        run.crew.until(lambda: not brokers.alive(1), "the broker cannot write its log, and ends")
        before = journal_total(run.near)
        run.crew.until(lambda: journal_total(run.near) > before or run.crew.done(), "senders get their answers")
        assert ledger_total(run.near) < journal_total(run.near), "publishing waits"
        disk.free()
        brokers.start()
        return run.check(), Counter({"Kafka's disk full": 1})
