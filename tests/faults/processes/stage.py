"""What every run under faults needs: servers, messages, and what a run without faults makes of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psycopg

from epicrisis.settings import Settings
from tests.faults.processes.crew import Crew
from tests.faults.processes.history import During, Verdict, at_rest
from tests.faults.processes.looking import Reference, Watch, rest
from tests.faults.processes.sending import write_messages
from tests.faults.processes.servers import Servers

ONE_EACH = {"relay": 1, "work": 1, "serve": 1}


class Wrong(AssertionError):
    """The checks have found something."""

    def __init__(self, verdict: Verdict) -> None:
        some = verdict.problems
        super().__init__("\n".join([f"{len(some)} problems:", *some[:20]]))
        self.verdict = verdict


class Stage:
    """Servers and messages for several runs. Each run has an installation of its own."""

    def __init__(self, servers: Servers, scratch: Path, *, patients: int, seed: int) -> None:
        self.servers, self.seed = servers, seed
        self._scratch = scratch
        self.directory, self.lanes = write_messages(scratch / "sent", patients, seed)

    @cached_property
    def reference(self) -> Reference:
        """A run of the same messages without faults."""
        with self.servers.installation() as (near, _):
            crew = Crew(near, self._scratch / "without-faults", {"relay": 1, "work": 1})
            try:
                self._begin(crew)
                crew.until(crew.done, "everything is sent")
                crew.come_to_rest(near)
            finally:
                crew.stop()
            return Reference(near)

    @contextmanager
    def run(
        self, name: str, servers: Servers | None = None, roles: Mapping[str, int] = ONE_EACH, *, far: bool = False
    ) -> Iterator[Run]:
        """An installation that has the directory, roles that begin to work and to send, and a watch over them.

        ``far``: the roles are behind the proxies.
        """
        reference = self.reference
        with (servers or self.servers).installation() as (near, behind):
            run = Run(near, Crew(behind if far else near, self._scratch / name, roles), reference)
            try:
                self._begin(run.crew)
                run.watching.start()
                yield run
            finally:
                run.watching.stop()
                run.crew.stop(kill=True)

    def _begin(self, crew: Crew) -> None:
        """The directory first: everything rests on it."""
        crew.send(self.directory)
        crew.until(crew.done, "the directory is sent")
        crew.send(*self.lanes)


class Run:
    """One run: its installation (`near`: beside the proxies), its roles, and what was seen."""

    def __init__(self, near: Settings, crew: Crew, reference: Reference) -> None:
        self.near, self.crew, self._reference = near, crew, reference
        self.watching = Watching(near, crew, reference)

    def check(self, *, complete: bool = True) -> Verdict:
        """Send the rest (if ``complete``), let everything come to rest, look at all of it.

        Raises
        ------
        Wrong
            Something is.
        """
        crew = self.crew
        crew.pace = 0.0
        crew.sending = complete
        crew.until(lambda: crew.done() if complete else not crew.sends(), "nobody sends any more")
        crew.come_to_rest(self.near)
        crew.sending = True
        self.watching.look()
        verdict = at_rest(rest(self.near, crew.acknowledged(), self._reference), complete=complete)
        verdict.other += self.watching.during.problems
        if verdict.problems:
            raise Wrong(verdict)
        return verdict


class Watching(threading.Thread):
    """Looks at an installation all the time."""

    def __init__(self, settings: Settings, crew: Crew, reference: Reference) -> None:
        super().__init__(name="watching", daemon=True)
        self._crew, self._watch, self.during = crew, Watch(settings), During(reference.expected)
        self._over, self._one = threading.Event(), threading.Lock()

    def run(self) -> None:
        while not self._over.wait(0.5):
            self.look()

    def look(self) -> None:
        """One look; while PostgreSQL is away there is nothing to see."""
        with self._one:
            acknowledged = self._crew.acknowledged()
            try:
                now = self._watch.look(acknowledged, self.during.heads)
            except psycopg.OperationalError:
                return
            self.during.look(now)

    def stop(self) -> None:
        """No more looks."""
        self._over.set()
        if self.is_alive():
            self.join()
