"""HL7 v2 for tests: messages as their senders write them, and a door on doubles in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from epicrisis.assembly import codec
from epicrisis.codec import MemoryKeyStore
from epicrisis.doors.hl7v2.door import Door, Maps
from epicrisis.doors.hl7v2.senders import Senders
from epicrisis.found import services
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests
from epicrisis.intake.inbox import Message, unseal_source
from epicrisis.intake.memory import MemoryInbox
from epicrisis.journal.memory import MemoryJournal
from epicrisis.operators import Operator, Sender
from epicrisis.quarantine import Quarantine
from epicrisis.quarantine.memory import MemoryStore

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
STJUDE = Operator(
    name="stjude",
    title="St Jude",
    country="AT",
    clinics=("main",),
    mllp=(Sender(clinic="main", application="HIS", facility="STJUDE"),),
)


def segment(name: str, fields: Mapping[int, str]) -> str:
    """A segment from its fields by number."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


VISIT = {1: "1", 2: "I", 3: "ONC^12^1", 19: "V1^^^STJUDE", 44: "202603010800+0100"}
PV1 = segment("PV1", VISIT)


def message(
    event: str = "ADT^A01",
    *segments: str,
    control: str = "1",
    pid: str = "PID|1||4711^^^STJUDE^MR||Meier^Anna||19700412|F",
    pv1: str = PV1,
    version: str = "2.5.1",
    at: str = "20260301083000+0100",
    **header: str,
) -> bytes:
    """A message; ``header``: further fields of MSH by number (``msh18="8859/1"``)."""
    fields = ["HIS", "STJUDE", "EPICRISIS", "", at, "", event, control, "P", version]
    for name, value in header.items():
        number = int(name.removeprefix("msh"))
        fields += [""] * (number - 2 - len(fields))
        fields[number - 3] = value
    lines = ["MSH|^~\\&|" + "|".join(fields), *(line for line in (pid, pv1) if line), *segments]
    return ("\r".join(lines) + "\r").encode()


@dataclass
class House:
    """An operator's door, with all behind it in memory."""

    operators: Mapping[str, Operator] = field(default_factory=lambda: {"stjude": STJUDE})

    def __post_init__(self) -> None:
        self.journals = {name: MemoryJournal(name) for name in services()}
        self.inbox = MemoryInbox()
        self.keys = MemoryKeyStore()
        self.kept = MemoryStore()
        self.quarantine = Quarantine(self.kept, self.keys, clock=lambda: NOW)
        self.intake = Intake(
            services=services(),
            journals=self.journals,
            inbox=self.inbox,
            codec=codec(),
            keys=self.keys,
            digests=Digests(bytes(32)),
        )
        self.door = Door(Senders(self.operators), Maps(self.operators), self.intake, self.quarantine, lambda: NOW)

    def send(self, raw: bytes) -> list[str]:
        """The segments of the answer."""
        return self.door.answer(raw).decode("latin-1").rstrip("\r").split("\r")

    def events(self) -> list[str]:
        """The types of all events, in order, service by service."""
        return [event.type for journal in self.journals.values() for _, event in journal.log]

    def source(self, kept: Message) -> bytes:
        """What came, of a message in the inbox."""
        return unseal_source(kept.original, self.keys.by_ids([kept.key])[kept.key], kept.id)
