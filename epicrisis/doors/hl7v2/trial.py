"""What messages would become, without sending them: for whoever writes the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from epicrisis.doors.hl7v2.acknowledge import Header
from epicrisis.doors.hl7v2.door import Maps, checked
from epicrisis.doors.hl7v2.errors import Fault, NotMapped
from epicrisis.doors.hl7v2.frames import unbatched
from epicrisis.doors.hl7v2.message import read
from epicrisis.doors.hl7v2.rules import Mappings
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
        made, found = checked(raw, mappings)
    except NotMapped as refusal:
        return Tried(name, "", refusal.faults)
    message = read(raw, mappings.charsets)
    reads = mappings.read[mappings.kinds[message.type]]
    unread = sorted({segment.name for segment in message.segments} - reads)
    return Tried(name, msgspec.json.format(made.bundle, indent=2).decode(), [*made.warnings, *found], unread)
