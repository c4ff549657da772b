"""What the integration engineer's tool shows, without sending anything."""

from __future__ import annotations

import json

from epicrisis.doors.hl7v2.frames import framed
from epicrisis.doors.hl7v2.trial import trial
from tests.hl7v2 import message


def test_each_message_of_a_file_is_shown_with_what_is_wrong_and_what_nobody_reads() -> None:
    wrong = message(control="2", pid="PID|1||4711^^^STJUDE^MR||Meier||19701301|X")
    refused = message(control="3", pid="PID|1||4711^^^STJUDE^MR||Mei\\X00\\er")
    raw = message("ADT^A01", "ZPI|1|own", "IN1|1", control="1") + wrong + refused
    good, bad, by_the_gate = trial(raw, None)
    assert json.loads(good.bundle)["type"] == "transaction"
    assert (good.name, good.unread, list(good.faults)) == ("1", ["IN1", "ZPI"], [])
    assert (bad.name, bad.bundle) == ("2", "")
    assert [str(fault.place) for fault in bad.faults] == ["PID-7", "PID-8"]
    assert json.loads(by_the_gate.bundle), "what the gate refuses can be looked at"
    assert [(str(fault.place), fault.severity) for fault in by_the_gate.faults] == [("PID-5", "E")]


def test_a_file_as_it_was_on_the_wire_is_read_too() -> None:
    [one] = trial(framed(message()), None)
    assert one.bundle
