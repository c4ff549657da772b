"""Every public HL7 v2 sample ends as events, or is refused for a reason that is true: as the table beside this says."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

from epicrisis.doors.hl7v2.acknowledge import Header
from epicrisis.doors.hl7v2.errors import Place
from epicrisis.doors.hl7v2.frames import unbatched
from epicrisis.operators import Operator, Sender
from tests.hl7v2 import House

TABLE = Path(__file__).with_name("hl7v2_samples.toml")


def house() -> House:
    """A fresh one for each file: they share control ids and patients' numbers, whom they give other dates of birth."""
    return House({"any": Operator(name="any", title="Any", country="AT", clinics=("x",), mllp=(Sender(clinic="x"),))})


def judged(path: Path) -> dict[str, object]:
    """What comes of a file, sent as it is."""
    raw, here = path.read_bytes(), house()
    batch = unbatched(raw)
    headers = [Header.of(one) for one in (batch.messages if batch else [raw])]
    answer = here.send(raw)
    again = here.send(raw)
    assert [line for line in again if not line.startswith("MSH")] == [s for s in answer if not s.startswith("MSH")]
    row: dict[str, object] = {
        "type": "^".join((headers[0].first(9), headers[0].first(9, 2))),
        "answer": " ".join(line.split("|")[1] for line in answer if line.startswith("MSA")),
    }
    if events := Counter(here.events()):
        row["events"] = ", ".join(f"{count} {name}" for name, count in sorted(events.items()))
    if why := [reason(line) for line in answer if line.startswith("ERR")]:
        row["why"] = "; ".join(why)
    if kept := here.kept.rows("any"):
        row["quarantined"] = "; ".join(f"{place} {code}" for held in kept for code, place in held.problems)
    assert bool(events) != (not any(code in str(row["answer"]) for code in ("AA", "CA")))
    return row


def reason(line: str) -> str:
    """An ERR segment in words: the place and the sentence."""
    fields = line.split("|")
    if len(fields) < 9:
        return fields[1]
    segment, *numbers = fields[2].split("^")
    return f"{Place(segment, *(int(number or 0) for number in numbers))}: {fields[8]}"


def table(folder: Path) -> dict[str, dict[str, object]]:
    files = sorted(path for path in folder.rglob("*.hl7"))
    return {str(path.relative_to(folder)): judged(path) for path in files}


def test_every_sample_is_accounted_for(shared_data: Path) -> None:
    found = table(shared_data / "hl7v2")
    for name, row in found.items():
        print(f"{name}: {row['type']} {row['answer']} {row.get('events') or row.get('why')}")
    kept = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    assert len(found) == 72
    assert found == kept


if __name__ == "__main__":  # python -m tests.acceptance.test_hl7v2_samples FOLDER: write the table anew, then read it
    import json
    import sys

    lines = [
        "# What comes of each public sample of HL7 v2. Written by tests/acceptance/test_hl7v2_samples.py, then read.\n"
    ]
    for name, row in table(Path(sys.argv[1]) / "hl7v2").items():
        pairs = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in row.items()]
        lines.append(f"\n[{json.dumps(name)}]\n" + "".join(pairs))
    TABLE.write_text("".join(lines), encoding="utf-8")
