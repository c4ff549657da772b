"""From quarantine in again, by the door's own way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from epicrisis.doors.again import Fhir, resubmitted
from epicrisis.doors.hl7v2.door import Maps
from epicrisis.doors.hl7v2.resubmit import Hl7v2
from epicrisis.quarantine import RESUBMITTED
from tests.hl7v2 import STJUDE, House, message
from tests.kernel_support import bundle, observation, patient

ODD_SEX = message(pid="PID|1||4711^^^STJUDE^MR||Meier||19700412|X")


def way(house: House, folder: Path | None = None) -> Hl7v2:
    """The door's, with the operator's own tables."""
    operator = STJUDE if folder is None else msgspec.structs.replace(STJUDE, hl7v2="tables", folder=folder)
    return Hl7v2(house.intake, Maps({"stjude": operator}))


def mended(folder: Path) -> Path:
    (folder / "tables" / "codes").mkdir(parents=True)
    (folder / "tables" / "codes" / "0001.csv").write_text("code,fhir,system,display,note\nX,other,,,\n")
    return folder


def test_after_its_mapping_was_mended_a_message_gives_normal_events_that_remember_their_origin(tmp_path: Path) -> None:
    house = House()
    assert house.send(ODD_SEX)[1] == "MSA|AE|1"
    (held,) = house.quarantine.rows("stjude")
    original = house.quarantine.original(held)
    assert [p.expression for p in way(house).problems(held, original)] == ["PID-8"]
    (row,) = resubmitted(lambda _: way(house), house.quarantine, [held], "ada")
    assert (row["outcome"], row["message"]) == ("refused", None)
    assert not house.events()

    tables = mended(tmp_path)
    assert way(house, tables).problems(held, original) == []
    (row,) = resubmitted(lambda _: way(house, tables), house.quarantine, [held], "ada")
    (settled,) = house.quarantine.rows("stjude", state=RESUBMITTED)
    (kept,) = house.inbox._messages.values()
    assert (row["outcome"], settled.message, kept.id) == ("went in", row["message"], row["message"])
    assert kept.door == "quarantine:hl7v2"
    assert house.source(kept) == ODD_SEX
    assert sorted(house.events()) == ["chart.ResourceRecorded", "registration.PatientRegistered"]
    house.door._maps = way(house, tables)._maps
    assert house.send(ODD_SEX)[1] == "MSA|AA|1", "its sender sends it again: it is in"
    assert len(house.events()) == 2


def test_a_message_with_the_control_id_of_another_goes_in_under_a_name_of_its_own() -> None:
    house = House()
    house.send(message())
    house.send(message(pid="PID|1||4712^^^STJUDE^MR||Huber"))
    before = len(house.events())
    (held,) = house.quarantine.rows("stjude")
    (row,) = resubmitted(lambda _: way(house), house.quarantine, [held], "ada")
    assert row["outcome"] == "went in"
    assert len(house.events()) > before


def test_what_was_discarded_is_not_sent_again(tmp_path: Path) -> None:
    house = House()
    house.send(ODD_SEX)
    (held,) = house.quarantine.rows("stjude")
    house.quarantine.discard(held, "another patient's", "ada")
    tables = mended(tmp_path)
    (row,) = resubmitted(lambda _: way(house, tables), house.quarantine, [house.quarantine.find(held.id)], "bob")
    assert (row["outcome"], row["message"]) == ("refused", None)
    assert "does not wait any more" in row["problems"]
    assert not house.events()


def test_killed_before_it_was_settled_a_message_is_sent_again_and_in_once() -> None:
    house, early = House(), bundle(observation(to="Patient/late"))
    id = house.quarantine.keep(
        early, operator="stjude", clinic="stjude/main", door="kafka", problems=[], name="topic/0/1"
    )
    house.intake.receive(bundle(patient("late")), operator="stjude", clinic="stjude/main", door="kafka")
    held = house.quarantine.find(id)
    message_id = Fhir(house.intake).send(held, house.quarantine.original(held))
    before = house.events()
    (row,) = resubmitted(lambda _: Fhir(house.intake), house.quarantine, [held], "ada")
    assert (row["message"], house.events()) == (message_id, before)
    (row,) = resubmitted(lambda _: Fhir(house.intake), house.quarantine, [replace(held)], "ada")
    assert (row["outcome"], "was resubmitted" in row["problems"]) == ("refused", True)
