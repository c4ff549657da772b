"""What the journals know of the names in a message: asked for all at once, remembered while the message lasts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from uuid import UUID

from epicrisis.decider import Service
from epicrisis.journal import Journal

Finder = Mapping[str, tuple[Service, Journal]]


class Known:
    """Answers by name.

    ``identifying`` maps resource types to who indexes their identifiers, ``keeping`` to the journals that may keep
    them; ``identity`` knows who may write about whom, and indexes what conditions name resources of other types by.
    What was not asked for by `ask` is asked for one by one.
    """

    def __init__(
        self, identifying: Finder, keeping: Callable[[str], Sequence[Journal]], identity: tuple[Service, Journal]
    ) -> None:
        self._identifying = identifying
        self._keeping = keeping
        self._registry = identity
        self._identity = identity[1]
        self._ids: dict[bytes, UUID | None] = {}
        self._operators: dict[UUID, set[str]] = {}
        self._streams: dict[str, UUID | None] = {}

    def ask(
        self,
        digests: Iterable[tuple[str, bytes]] = (),
        subjects: Collection[UUID] = (),
        streams: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Look up digests and streams, each with its resource type, and who may write about these subjects, and about
        those found: one question per journal that may know.
        """
        by_journal: dict[Journal, set[bytes]] = {}
        for kind, digest in digests:
            if digest not in self._ids:
                by_journal.setdefault(self.indexing(kind)[1], set()).add(digest)
        subjects = [subject for subject in subjects if subject not in self._operators]
        if subjects:
            by_journal.setdefault(self._identity, set())
        for journal, wanted in sorted(by_journal.items(), key=lambda one: one[0].name):  # all messages in one order
            about = subjects if journal is self._identity else ()
            found, members = journal.who(wanted, about)
            self._ids |= dict.fromkeys(wanted) | found
            if journal is self._identity:
                for subject in (*about, *found.values()):
                    self._operators.setdefault(subject, set())
                for subject, operator in members:
                    self._operators[subject].add(operator)
        self._ask_streams(streams)

    def _ask_streams(self, streams: Iterable[tuple[str, str]]) -> None:
        waiting = {stream: iter(self._keeping(kind)) for kind, stream in streams}
        while waiting:
            asked: defaultdict[Journal, list[str]] = defaultdict(list)
            for stream, journals in list(waiting.items()):
                if journal := next(journals, None):
                    asked[journal].append(stream)
                else:
                    self._streams[stream] = None
                    del waiting[stream]
            for journal, wanted in asked.items():
                for stream, subject in journal.known(wanted).items():
                    self._streams[stream] = subject
                    del waiting[stream]

    def indexing(self, kind: str) -> tuple[Service, Journal]:
        """Who indexes identifiers of this type."""
        return self._identifying.get(kind, self._registry)

    def identified(self, kind: str, digest: bytes) -> UUID | None:
        """Whose identifier this is."""
        if digest not in self._ids:
            self.ask([(kind, digest)])
        return self._ids[digest]

    def operators(self, subject: UUID) -> Collection[str]:
        """Who may write about a subject; nobody where it is not known."""
        if subject not in self._operators:
            self.ask(subjects=[subject])
        return self._operators[subject]

    def stream(self, kind: str, stream: str) -> UUID | None:
        """The subject of a stream, in whichever service may keep resources of this type."""
        if stream not in self._streams:
            self._ask_streams([(kind, stream)])
        return self._streams[stream]
