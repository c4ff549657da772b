"""What messages would become, without sending them: for whoever writes the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from epicrisis.doors.hl7v2.acknowledge import Header
from epicrisis.doors.hl7v2.compiled import Mappings
from epicrisis.doors.hl7v2.door import Maps
from epicrisis.doors.hl7v2.errors import INTERNAL, Fault, NotMapped
from epicrisis.doors.hl7v2.frames import unbatched
from epicrisis.doors.hl7v2.mapping import mapped
from epicrisis.doors.hl7v2.message import read
from epicrisis.fhir.problems import problems
from epicrisis.operators import Operator


class Tried(NamedTuple):
    """One message: its control id, the Bundle as indented JSON (empty: none), all that is wrong, unread segments."""

    name: str
    bundle: str
    faults: Sequence[Fault]
    unread: Sequence[str] = ()


def trial(raw: bytes, operator: Operator | None) -> Iterator[Tried]:
    """Every message of a file, mapped and checked by the gate.

    Raises
    ------
    SettingsError
        A line of the operator's tables is wrong.
    """
    mappings = Maps({operator.name: operator} if operator else {}).of(operator.name if operator else "")
    raw = raw.strip(b"\x0b\x1c\r\n ")
    batch = unbatched(raw)
    for message in batch.messages if batch else [raw]:
        yield _tried(message, mappings)


def _tried(raw: bytes, mappings: Mappings) -> Tried:
    name = Header.of(raw).field(10)
    try:
        message = read(raw, mappings.charsets)
        made = mapped(message, mappings)
    except NotMapped as refusal:
        return Tried(name, "", refusal.faults)
    found = [Fault(code=INTERNAL, place=made.origin(p.expression), text=p.text) for p in problems(made.bundle)]
    text = msgspec.json.format(made.bundle, indent=2).decode()
    reads = mappings.read[mappings.kinds[message.type]]
    unread = sorted({segment.name for segment in message.segments} - reads)
    return Tried(name, text, [*made.warnings, *found], unread)
