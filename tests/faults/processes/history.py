"""The recorded history of a run under faults, and the checks over it: during the run, and at rest. No I/O in here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from epicrisis.audit.chain import first_link, next_link


class Acknowledged(NamedTuple):
    """An answer that a sender got: events per service. ``repeated``: the message was known already."""

    file: str
    message: UUID
    events: Mapping[str, int]
    repeated: bool


class Event(NamedTuple):
    """An event, wherever it is."""

    service: str
    subject: UUID
    seq: int
    id: UUID
    message: UUID | None


class Archived(NamedTuple):
    """A row of the ledger."""

    subject: UUID
    n: int
    link: bytes
    value: bytes


class Look(NamedTuple):
    """What was there at one moment of the run. ``archived``: rows of the ledger that no look has seen before."""

    acknowledged: Sequence[Acknowledged]
    journalled: set[UUID]
    offsets: Mapping[tuple[str, int], tuple[int, int]]
    cursors: Mapping[tuple[str, int], int]
    heads: Mapping[UUID, tuple[int, bytes]]
    archived: Sequence[Archived]


class Rest(NamedTuple):
    """What is there when everything has come to rest.

    ``expected``: the events of every message, from a run without faults. ``journal``: by service, subject, seq.
    ``log``: by partition and offset. ``ledger``: by subject and n; the values and links in ``archived``, in the same
    order. ``positions``: what each consumer has applied of each subject, by service. ``reads``: a digest per read model
    here, in the run without faults, and of the ledger folded anew. ``left``: counts that have to be zero, by name.
    """

    acknowledged: Sequence[Acknowledged]
    expected: Mapping[UUID, Sequence[Event]]
    journal: Sequence[Event]
    values: Mapping[tuple[str, UUID, int], bytes]
    log: Sequence[Event]
    ledger: Sequence[Event]
    archived: Sequence[Archived]
    heads: Mapping[UUID, tuple[int, bytes]]
    positions: Mapping[tuple[str, UUID], Mapping[str, int]]
    reads: Mapping[str, tuple[str, str]]
    folds: Mapping[str, tuple[str, str]]
    left: Mapping[str, int]


@dataclass(slots=True)
class Verdict:
    """What is wrong. ``sent_again``: records that the log has more than once, which is allowed."""

    acknowledged: int = 0
    sent_again: int = 0
    lost: set[str] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)
    out_of_order: set[str] = field(default_factory=set)
    other: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """A line each."""
        lines = [f"lost: {one}" for one in sorted(self.lost)]
        lines += [f"doubled: {one}" for one in sorted(self.doubled)]
        return [*lines, *(f"out of order: {one}" for one in sorted(self.out_of_order)), *self.other]


class During:
    """Looks at a running system, one after the other: nothing may ever go back."""

    def __init__(self, expected: Mapping[UUID, Sequence[Event]]) -> None:
        self._expected = expected
        self._offsets: dict[Any, tuple[int, int]] = {}
        self._cursors: dict[Any, int] = {}
        self.heads: dict[UUID, tuple[int, bytes]] = {}
        self.looks = 0
        self.problems: list[str] = []

    def look(self, now: Look) -> None:
        """One more."""
        self.looks += 1
        for answer in now.acknowledged:
            for event in self._expected.get(answer.message, ()):
                if event.id not in now.journalled:
                    self._wrong(f"event {event.id} was acknowledged and is not in the journal of {event.service}")
        for name, before, after in (("offset", self._offsets, now.offsets), ("cursor", self._cursors, now.cursors)):
            for place, position in before.items():
                found = after.get(place)
                parts = zip(position, found, strict=True) if isinstance(found, tuple) else [(position, found or 0)]
                if found is None or any(old > new for old, new in parts):
                    self._wrong(f"the {name} of {place} went back from {position} to {found}")
        self._offsets, self._cursors = dict(now.offsets), dict(now.cursors)
        grown = chained(now.archived, self.heads)
        for problem in grown.problems:
            self._wrong(problem)
        for subject in self.heads.keys() | now.heads.keys():
            if now.heads.get(subject) != grown.heads.get(subject):
                self._wrong(f"the ledger's head of {subject} is not its last event")
        self.heads = dict(now.heads)

    def _wrong(self, problem: str) -> None:
        self.problems.append(f"look {self.looks}: {problem}")


class Chained(NamedTuple):
    heads: dict[UUID, tuple[int, bytes]]
    problems: list[str]


def chained(rows: Iterable[Archived], heads: Mapping[UUID, tuple[int, bytes]]) -> Chained:
    """The chains of these subjects after these rows, and where one has a gap or does not verify."""
    at, problems = dict(heads), []
    for subject, n, link, value in rows:
        before, last = at.get(subject, (0, first_link(subject)))
        if n != before + 1:
            problems.append(f"the ledger of {subject} goes from {before} to {n}")
        if link != next_link(last, value):
            problems.append(f"the chain of {subject} breaks at its event {n}")
        at[subject] = n, link
    return Chained(at, problems)


def at_rest(rest: Rest, *, complete: bool) -> Verdict:
    """Check everything. ``complete``: every message was acknowledged."""
    verdict = Verdict()
    wanted = _wanted(rest, verdict)
    verdict.acknowledged = len(wanted)
    places = {"journal": rest.journal, "log": rest.log, "ledger": rest.ledger}
    counts = {name: Counter(event.id for event in events) for name, events in places.items()}
    for name, count in counts.items():
        verdict.lost |= {f"{id_} ({name})" for id_ in wanted if not count[id_]}
    for name in ("journal", "ledger"):
        verdict.doubled |= {f"{id_} ({name}, {n} times)" for id_, n in counts[name].items() if n > 1}
    verdict.sent_again = len(rest.log) - len(counts["log"])
    for name, events in places.items():
        verdict.out_of_order |= {f"{where} ({name})" for where in _out_of_order(events, repeats=name == "log")}
    everything = {event.id: event for events in rest.expected.values() for event in events}
    for name, events in places.items():
        for event in events:
            if event != everything.get(event.id):
                verdict.other.append(f"{name}: {_place(event)} is not what a run without faults has")
    if complete and len(counts["journal"]) < len(everything):
        verdict.other.append(f"{len(everything) - len(counts['journal'])} events less than in a run without faults")
    _compare(rest, verdict, complete=complete)
    return verdict


def _wanted(rest: Rest, verdict: Verdict) -> set[UUID]:
    """The acknowledged events. Every answer must be the right one, and always the same."""
    wanted: set[UUID] = set()
    for answer in rest.acknowledged:
        events = rest.expected.get(answer.message)
        if events is None:
            verdict.other.append(f"{answer.file}: its message {answer.message} is unknown to a run without faults")
            continue
        if Counter(event.service for event in events) != Counter(answer.events):
            verdict.other.append(f"{answer.file}: the answer is not that of a run without faults")
        wanted |= {event.id for event in events}
    return wanted


def _out_of_order(events: Iterable[Event], *, repeats: bool) -> list[str]:
    """Where a subject's events of a service do not follow their ``seq``, from one on, without a gap."""
    last: defaultdict[tuple[str, UUID], int] = defaultdict(int)
    wrong = []
    for event in events:
        place = event.service, event.subject
        if repeats and event.seq <= last[place]:
            continue
        if event.seq != last[place] + 1:
            wrong.append(f"{_place(event)} after {last[place]}")
        last[place] = event.seq
    return wrong


def _compare(rest: Rest, verdict: Verdict, *, complete: bool) -> None:
    journal = {(event.service, event.subject, event.seq) for event in rest.journal}
    ledger = {
        (event.service, event.subject, event.seq): row.value
        for event, row in zip(rest.ledger, rest.archived, strict=True)
    }
    if ledger != rest.values:
        verdict.other.append("the ledger is not, byte for byte, what the journals have")
    if {(e.service, e.subject, e.seq) for e in rest.log} != journal:
        verdict.other.append("the log is not what the journals have")
    found = chained(rest.archived, {})
    verdict.other += found.problems
    if found.heads != rest.heads:
        verdict.other.append("the ledger's heads are not its last events")
    heads: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
    for service, subject, seq in sorted(journal):
        heads[subject][service] = seq
    for consumer in {consumer for consumer, _ in rest.positions}:
        if {s: dict(p) for (c, s), p in rest.positions.items() if c == consumer} != heads:
            verdict.other.append(f"{consumer}: its positions are not the journals' heads")
    digests = {"the ledger folded anew": rest.folds, **({"a run without faults": rest.reads} if complete else {})}
    for what, pairs in digests.items():
        verdict.other += [f"{name}: its rows are not those of {what}" for name, (a, b) in pairs.items() if a != b]
    verdict.other += [f"{count} {name}" for name, count in rest.left.items() if count]


def _place(event: Event) -> str:
    return f"{event.service} {event.subject} {event.seq}"
