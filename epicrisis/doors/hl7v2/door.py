"""A message's way in: who sends it, mapping, gate, intake; and the answer. Knows nothing of sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock
from typing import NamedTuple

import psycopg

from epicrisis import logging, metrics
from epicrisis.doors.hl7v2.acknowledge import Header, acknowledgement, batch_of
from epicrisis.doors.hl7v2.compiled import compiled
from epicrisis.doors.hl7v2.errors import DUPLICATE_KEY, INTERNAL, SEQUENCE, UNKNOWN_KEY, Fault, NotMapped, Place
from epicrisis.doors.hl7v2.frames import unbatched
from epicrisis.doors.hl7v2.mapping import Mapped, mapped
from epicrisis.doors.hl7v2.message import read
from epicrisis.doors.hl7v2.rules import Mappings
from epicrisis.doors.hl7v2.senders import Caller, Senders
from epicrisis.doors.refusals import problems_of
from epicrisis.errors import Conflict, Refused, Unreachable
from epicrisis.fhir.outcome import Problem
from epicrisis.fhir.problems import problems
from epicrisis.intake import Intake, Receipt
from epicrisis.operators import Operator
from epicrisis.quarantine import Quarantine

DOOR = "hl7v2"
_MOST_FAULTS = 20
"""So many ERR segments at most."""
_AT = "%Y%m%d%H%M%S+0000"

log = logging.get(__name__)


class Taken(NamedTuple):
    """A message that went in. ``other``: its name was used before, for something else; that is what was answered."""

    receipt: Receipt
    warnings: Sequence[Fault]
    other: bool


class Maps:
    """The mapping tables of each operator, read when its first message comes. May be shared by threads."""

    def __init__(self, operators: Mapping[str, Operator]) -> None:
        self._operators = operators
        self._read: dict[str, Mappings] = {}
        self._lock = Lock()

    def of(self, operator: str) -> Mappings:
        """Those of an operator; the shipped ones where it has none of its own.

        Raises
        ------
        SettingsError
            A line of its tables is wrong.
        """
        with self._lock:
            if operator not in self._read:
                known = self._operators.get(operator)
                own = known.folder / known.hl7v2 if known is not None and known.hl7v2 else None
                self._read[operator] = compiled(own) if own else self._shipped()
            return self._read[operator]

    def _shipped(self) -> Mappings:
        if "" not in self._read:
            self._read[""] = compiled()
        return self._read[""]


def submit(
    raw: bytes,
    *,
    caller: Caller,
    mappings: Mappings,
    intake: Intake,
    at: str = "",
    name: str | None = None,
    door: str = DOOR,
) -> Taken:
    """Take one message in. For the server, and for whoever sends again what was in quarantine.

    ``name``: instead of MSH-3, MSH-4 and MSH-10.

    Raises
    ------
    NotMapped
        With every place in the message, also where the gate or a service refused what it became.
    TooManyConflicts, Unreachable
        Not now: send it again.
    """
    made = mapped(read(raw, mappings.charsets), mappings)
    mark = f"{at}|{content_of(raw)}"
    try:
        receipt = intake.receive(
            made.bundle,
            operator=caller.operator,
            clinic=caller.clinic,
            door=door,
            name=name or Header.of(raw).name,
            source=raw,
            mark=mark,
        )
    except Refused as refusal:
        raise NotMapped([_traced(made, problem) for problem in problems_of(made.bundle, refusal)]) from None
    before = receipt.mark.partition("|")[2]
    return Taken(receipt, made.warnings, bool(receipt.repeated and before and before != content_of(raw)))


def checked(raw: bytes, mappings: Mappings) -> tuple[Mapped, list[Fault]]:
    """What a message becomes, and what the gate finds wrong with that.

    Raises
    ------
    NotMapped
        It becomes nothing.
    """
    made = mapped(read(raw, mappings.charsets), mappings)
    return made, [_traced(made, problem) for problem in problems(made.bundle)]


def _traced(made: Mapped, problem: Problem) -> Fault:
    """A problem of the Bundle, at the field that it came from."""
    place = made.origin(problem.expression)
    return Fault(code=INTERNAL, place=place, text=problem.text, issue=problem.code)


def content_of(raw: bytes) -> str:
    """What tells one message from another that has the same name: its type, and all behind MSH, where the time of
    sending is.
    """
    lines = raw.replace(b"\n", b"\r").lstrip().partition(b"\r")
    kind = Header.of(raw).field(9).strip().encode("latin-1")
    return sha256(b"\r".join((kind, lines[2].strip()))).hexdigest()[:16]


class Door:
    """Answers messages. One for each message at hand: the intake is."""

    def __init__(
        self,
        senders: Senders,
        maps: Maps,
        intake: Intake,
        quarantine: Quarantine,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._senders = senders
        self._maps = maps
        self._intake = intake
        self._quarantine = quarantine
        self._clock = clock

    def answer(self, content: bytes, certificate: str = "") -> bytes:
        """The answer to the content of a frame: to a message an acknowledgement, to a batch one for each in a batch."""
        batch = unbatched(content)
        if batch is None:
            return self._answer(content, certificate)
        answers = [self._answer(raw, certificate) for raw in batch.messages]
        file = Header.of(batch.file) if batch.file else None
        return batch_of(answers, file, Header.of(batch.batch) if batch.batch else None)

    def _answer(self, raw: bytes, certificate: str) -> bytes:
        header = Header.of(raw)
        at = self._clock().astimezone(UTC).strftime(_AT)
        try:
            return self._judged(raw, header, at, certificate)
        except Exception as problem:  # one message must not end the connection of others
            later = isinstance(problem, Conflict | Unreachable | psycopg.OperationalError)
            (log.warning if later else log.error)("message not taken in", door=DOOR, error=problem)
            text = "not now: send it again" if later else "a defect: the message was not taken in"
            metrics.acknowledged("", "AR")
            return acknowledgement(header, "AR", at, [Fault(code=INTERNAL, place=Place(), text=text)])

    def _judged(self, raw: bytes, header: Header, at: str, certificate: str) -> bytes:
        caller = self._senders.find(header.text(3), header.text(4), certificate)
        if caller is None:
            log.warning("message of an unknown sender", door=DOOR)
            metrics.acknowledged("", "AR")
            fault = Fault(code=UNKNOWN_KEY, place=Place("MSH", 1, 3), text="no operator here has such a sender")
            if not header.sent:
                fault = Fault(code=SEQUENCE, place=Place("MSH"), text="a message begins with MSH")
            return acknowledgement(header, "AR", at, [fault])
        try:
            taken = submit(raw, caller=caller, mappings=self._maps.of(caller.operator), intake=self._intake, at=at)
        except NotMapped as refusal:
            return self._refused(raw, header, caller, refusal.faults, at)
        if taken.other:
            log.warning("message with the name of another", operator=caller.operator, door=DOOR)
            text = "this control id was used before, for another message"
            self._keep(raw, header, caller, [Fault(code=DUPLICATE_KEY, place=Place("MSH", 1, 10), text=text)])
        metrics.acknowledged(caller.operator, "AA")
        first = taken.receipt.mark.partition("|")[0]
        return acknowledgement(header, "AA", first or at)

    def _refused(self, raw: bytes, header: Header, caller: Caller, faults: Sequence[Fault], at: str) -> bytes:
        metrics.acknowledged(caller.operator, "AE")
        return acknowledgement(header, "AE", at, [*faults[:_MOST_FAULTS], *self._keep(raw, header, caller, faults)])

    def _keep(self, raw: bytes, header: Header, caller: Caller, faults: Sequence[Fault]) -> list[Fault]:
        """Keep it in quarantine; what the sender must know where that could not be done."""
        said = self._quarantine.refused(
            raw,
            operator=caller.operator,
            clinic=caller.clinic,
            door=DOOR,
            problems=[fault.problem for fault in faults],
            name=header.name,
        )[-1]
        not_kept = said.severity == "warning"
        return [Fault(code=INTERNAL, place=Place(), text=said.text, severity="W")] if not_kept else []
