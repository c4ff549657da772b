"""What is fuzzed: each target takes any bytes, and raises only where something is wrong with us."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from epicrisis import simulate
from epicrisis.doors.hl7v2.frames import Frames, Overrun, framed
from epicrisis.errors import Malformed, Refused
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.outcome import outcome
from epicrisis.fhir.problems import problems
from tests import hl7v2
from tests.acceptance.bad_files import BAD, GOOD

CORPUS = Path(__file__).parents[1] / "corpus"
GATE = Gate()


@dataclass(frozen=True)
class Target:
    """What to call, what to begin with, how often in a short run."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    short: int


def _refusal(raw: bytes) -> Malformed | None:
    try:
        GATE.check(raw)
    except Malformed as refusal:
        return refusal
    return None


def gate(raw: bytes) -> None:
    """It passes or it is refused, the slow pass agrees, and the OperationOutcome is valid itself."""
    refusal = _refusal(raw)
    if refusal is not None:
        assert refusal.message
        assert refusal.rule not in ("", "other"), "a rule without words"
    found = problems(raw)
    assert (found == []) is (refusal is None)
    GATE.check(outcome(found))


@cache
def _house() -> hl7v2.House:
    house = hl7v2.House()
    for raw in GOOD.values():
        with suppress(Refused):  # gzip and NDJSON are no messages
            house.intake.receive(raw, operator="stjude", clinic="stjude/main", door="fuzz")
    return house


def bundle(raw: bytes) -> None:
    """It goes in wholly, and the same again has the first answer; or it is refused, and nothing of it is left."""
    house = _house()
    if len(house.inbox.unmapped()) + len(house.events()) > 2_000:
        _house.cache_clear()
    before = len(house.events())
    try:
        receipt = house.intake.receive(raw, operator="stjude", clinic="stjude/main", door="fuzz")
    except Refused:
        assert len(house.events()) == before, "refused, and yet something of it was appended"
    else:
        assert len(house.events()) == before + (0 if receipt.repeated else receipt.total)
        again = house.intake.receive(raw, operator="stjude", clinic="stjude/main", door="fuzz")
        assert (again.repeated, again.events, again.entries) == (True, receipt.events, receipt.entries)
    assert house.inbox.unfinished() == []


def hl7(raw: bytes) -> None:
    """Any content of a frame has an acknowledgement, and none of them says that we failed."""
    house = _house()
    answer = house.door.answer(raw)
    assert re.search(rb"\rMSA.[AC][AER]", answer, re.S) or answer[:3] in (b"FHS", b"BHS"), "no acknowledgement"
    assert b"a defect" not in answer
    assert house.inbox.unfinished() == []


def mllp(raw: bytes) -> None:
    """However a stream is cut into pieces, the same frames come out, within the cap."""
    random = Random(raw)
    whole = list(_frames([raw]))
    cuts = sorted(random.randrange(len(raw) + 1) for _ in range(random.randrange(8)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert list(_frames(pieces)) == whole
    assert all(len(one) <= _CAP for one in whole)


_CAP = 400


def _frames(pieces: list[bytes]) -> Iterator[bytes]:
    frames = Frames(_CAP)
    with suppress(Overrun):
        for piece in pieces:
            frames.feed(piece)
            while (content := frames.next()) is not None:
                yield content


def _resources() -> list[bytes]:
    files = [path.read_bytes() for path in sorted((CORPUS / "gate").glob("*.json"))]
    entries = [json.dumps(e["resource"]).encode() for raw in _bundles()[-3:] for e in json.loads(raw)["entry"]]
    return files + entries


def _bundles() -> list[bytes]:
    bad = [one.content for one in BAD if isinstance(one.content, bytes) and len(one.content) < 20_000]
    return [*bad, *GOOD.values(), *(message.bundle for message in simulate.messages(12, 1))][:200]


def _messages() -> list[bytes]:
    pid = "PID|1||4711^^^STJUDE^MR~9^^^X||Meier^Anna^^^Dr.||19700412|F|||Gasse 1^^Wien^^1010^AT||0043^PRN^PH"
    obx = "OBX|1|NM|718-7^Hb^LN||13.5|g/dL|12-16|N|||F|||202603010800"
    obr = "OBR|1|A1^L|B1^L|58410-2^CBC^LN|||202603010700"
    return [
        hl7v2.message(),
        hl7v2.message("ADT^A40", "MRG|4712^^^STJUDE^MR", control="2"),
        hl7v2.message("ADT^A08", "DG1|1||C50.9^Mamma^I10|||A", "AL1|1|DA|1^Penicillin^L", control="3", pid=pid),
        hl7v2.message("ORU^R01", obr, obx, "NTE|1||text \\T\\ more\\.br\\", control="4"),
        hl7v2.message("REF^I12", "RF1|A^^L||L^^L|||R1|", "PRD|RP|Arzt^Otto", control="5", msh18="8859/1"),
        hl7v2.message("OML^O21", "ORC|NW|A1^L", obr, control="6"),
        b"BHS|^~\\&|HIS|STJUDE\r" + hl7v2.message(control="7") + hl7v2.message(control="8") + b"BTS|2\r",
    ]


def _streams() -> list[bytes]:
    return [
        b"".join(framed(raw) for raw in _messages()[:3]),
        b"x\x0b" + b"y" * 500 + b"\x1c\r",
        b"\x0ba\x0bb\x1c\x0bc\x1c\n",
    ]


TARGETS = {
    "gate": Target(gate, _resources, 300),
    "bundle": Target(bundle, _bundles, 150),
    "hl7": Target(hl7, _messages, 150),
    "mllp": Target(mllp, _streams, 400),
}
