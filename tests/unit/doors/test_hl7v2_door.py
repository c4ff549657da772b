"""The door: who sends, what is answered, what is kept; on doubles in memory."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicrisis.doors.hl7v2.door import Door, Maps
from epicrisis.doors.hl7v2.errors import NotMapped
from epicrisis.doors.hl7v2.resubmit import Hl7v2
from epicrisis.doors.hl7v2.senders import Caller, Senders
from epicrisis.operators import Operator, Sender
from epicrisis.quarantine import WAITING
from tests.hl7v2 import STJUDE, House, message


@pytest.fixture
def house() -> House:
    return House()


def test_a_message_goes_in_and_the_answer_goes_back_to_its_sender(house: House) -> None:
    msh, msa = house.send(message(msh18="UNICODE UTF-8"))
    fields = msh.split("|")
    assert fields[2:6] == ["EPICRISIS", "", "HIS", "STJUDE"]
    assert (fields[6], fields[8], fields[10], fields[11], fields[17]) == (
        "20260301093000+0000", "ACK^A01^ACK", "P", "2.5.1", "UNICODE UTF-8",
    )  # fmt: skip
    assert msa == "MSA|AA|1"
    assert sorted(house.events()) == ["chart.ResourceRecorded", "registration.PatientRegistered"]


def test_what_came_is_kept_word_for_word_with_what_was_decided(house: House) -> None:
    raw = message(pid="PID|1||4711^^^STJUDE^MR||M\u00fcller").decode().encode()
    house.send(raw)
    [kept] = house.inbox._messages.values()
    assert house.source(kept) == raw


def test_a_message_sent_again_gets_the_first_answer_and_makes_no_events(house: House) -> None:
    first = house.send(message())
    before = house.events()
    house.door._clock = lambda: (
        pytest.fail("asked") if False else __import__("datetime").datetime(2027, 1, 1).astimezone()
    )
    assert house.send(message()) == first
    assert house.events() == before
    assert not house.kept.rows(None)


def test_another_message_with_a_used_control_id_gets_the_first_answer_and_is_not_lost(house: House) -> None:
    first = house.send(message())
    other = message(pid="PID|1||4712^^^STJUDE^MR||Huber")
    assert house.send(other) == first
    [held] = house.kept.rows("stjude", state=WAITING)
    assert house.quarantine.original(held).raw == other
    assert held.problems == [("duplicate", "MSH-10")]


def test_another_event_with_a_used_control_id_is_not_lost_either(house: House) -> None:
    house.send(message())
    discharge = message().replace(b"ADT^A01", b"ADT^A03")
    house.send(discharge)
    [held] = house.kept.rows("stjude", state=WAITING)
    assert house.quarantine.original(held).raw == discharge
    assert held.problems == [("duplicate", "MSH-10")]


def test_what_is_no_message_is_told_so(house: House) -> None:
    for raw in (b"", b"junk", b"PID|1||4711"):
        _, msa, err = house.send(raw)
        assert msa == "MSA|AR|"
        assert err == "ERR||MSH^1|100^Segment sequence error^HL70357|E||||a message begins with MSH"


def test_what_is_wrong_is_answered_with_its_places_and_kept(house: House) -> None:
    raw = message(pid="PID|1||4711^^^STJUDE^MR||Meier||19701301|X")
    _, msa, *errs = house.send(raw)
    assert msa == "MSA|AE|1"
    assert errs == [
        "ERR||PID^1^7^1|102^Data type error^HL70357|E||||there is no such date or time",
        "ERR||PID^1^8^1|103^Table value not found^HL70357|E||||codes/0001.csv has no such code",
    ]
    assert not house.events()
    [held] = house.kept.rows("stjude", state=WAITING)
    assert held.problems == [("value", "PID-7"), ("code-invalid", "PID-8")]
    assert house.quarantine.original(held).raw == raw
    assert held.door == "hl7v2"


def test_what_the_gate_refuses_is_told_at_the_field_it_came_from(house: House) -> None:
    _, msa, err = house.send(message(pid="PID|1||4711^^^STJUDE^MR||Mei\\X00\\er"))
    assert msa == "MSA|AE|1"
    assert err.startswith("ERR||PID^1^5^1|207^")


def test_what_a_service_refuses_is_told_too(house: House) -> None:
    house.send(message(pid="PID|1||4711^^^STJUDE^MR||Meier||19700412|F", control="1"))
    _, msa, err = house.send(message(pid="PID|1||4711^^^STJUDE^MR||Meier||19810412|F", control="2"))
    assert msa == "MSA|AE|2"
    assert "an identifier of this patient belongs to a person with another date of birth" in err
    assert err.startswith("ERR||PID^1|207")


def test_an_old_version_gets_the_old_error_segment(house: House) -> None:
    assert house.send(message(pid="PID|1||4711||Meier||1970|X", version="2.3"))[2] == (
        "ERR|PID^1^8^103&Table value not found&HL70357"
    )


def test_an_unknown_sender_is_rejected_and_nothing_is_kept(house: House) -> None:
    raw = message().replace(b"|HIS|", b"|OTHER|")
    _, msa, err = house.send(raw)
    assert msa == "MSA|AR|1"
    assert err.startswith("ERR||MSH^1^3|204^Unknown key identifier")
    assert not house.kept.rows(None)
    assert not house.inbox._messages


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [
        ("", "", "AA", "AE"),
        ("AL", "NE", "CA", "CE"),
        ("NE", "AL", "AA", "AE"),
        ("AL", "AL", "AA", "AE"),
        ("NE", "NE", "AA", "AE"),
    ],
)
def test_enhanced_mode(house: House, accept: str, application: str, good: str, bad: str) -> None:
    assert house.send(message(msh15=accept, msh16=application))[1] == f"MSA|{good}|1"
    assert house.send(message("ADT^A99", control="2", msh15=accept, msh16=application))[1] == f"MSA|{bad}|2"


def test_a_batch_is_answered_by_a_batch(house: House) -> None:
    raw = (
        b"FHS|^~\\&|HIS|STJUDE|||||||F7\rBHS|^~\\&|HIS|STJUDE|||||||B9\r"
        + message(control="1")
        + message("ADT^A99", control="2")
    )
    answer = house.send(raw + b"BTS|2\rFTS|1\r")
    assert [line.split("|")[0] for line in answer] == ["FHS", "BHS", "MSH", "MSA", "MSH", "MSA", "ERR", "BTS", "FTS"]
    assert answer[1].split("|")[11] == "B9"
    assert [line for line in answer if line.startswith("MSA")] == ["MSA|AA|1", "MSA|AE|2"]


def test_a_defect_is_answered_and_ends_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Meier")

    monkeypatch.setattr(house.intake, "receive", broken)
    _, msa, err = house.send(message())
    assert msa == "MSA|AR|1"
    assert "Meier" not in err


@settings(max_examples=60)
@given(st.binary(max_size=300), st.binary(max_size=30))
def test_any_bytes_are_answered(rest: bytes, middle: bytes) -> None:
    house = House()
    for raw in (rest, b"MSH|^~\\&|HIS|STJUDE|" + rest, message()[:90] + middle + message()[90:]):
        answer = house.door.answer(raw)
        assert b"\rMSA|" in answer or answer.startswith((b"BHS", b"FHS")), "a batch of no messages gets an empty one"


def test_no_answer_and_no_log_repeats_what_was_sent(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    raw = message(pid="PID|1||4711SECRET^^^STJUDE^MR||SECRET\\X00\\^SECRET||SECRET|SECRET", pv1="PV1|1|SECRET")
    answer = "\r".join(house.send(raw))
    assert "AE" in answer
    assert "SECRET" not in answer + capsys.readouterr().err
    [held] = house.kept.rows("stjude", state=WAITING)
    assert "SECRET" not in json.dumps(held.problems)


def test_the_most_exact_sender_is_taken_and_certificates_bind() -> None:
    senders = Senders(
        {
            "a": Operator(title="A", country="AT", clinics=("x", "y"), name="a", mllp=(
                Sender(clinic="x", facility="F"), Sender(clinic="y", application="S", facility="F"),
                Sender(clinic="y", application="T", certificate="AB:CD"),
            )),
        }
    )  # fmt: skip
    assert senders.find("S", "F") == Caller("a", "a/y")
    assert senders.find("Q", "F") == Caller("a", "a/x")
    assert senders.find("T", "G") is None
    assert senders.find("T", "G", "abcd") == Caller("a", "a/y")
    assert senders.find("S", "F", "abcd") is None
    assert Senders({"s": STJUDE}).find("HIS", "STJUDE") == Caller("stjude", "stjude/main")


def test_what_was_refused_goes_in_once_the_tables_are_mended(tmp_path: Path) -> None:
    operator = msgspec.structs.replace(STJUDE, folder=tmp_path, hl7v2="hl7v2")
    (tmp_path / "hl7v2").mkdir()
    house = House({"stjude": operator})
    raw = message(pid="PID|1||4711^^^STJUDE^MR||Meier^Anna||19700412|W")
    assert house.send(raw)[1] == "MSA|AE|1"
    [held] = house.kept.rows("stjude", state=WAITING)
    original = house.quarantine.original(held)
    before = Hl7v2(house.intake, Maps(house.operators))
    assert [p.expression for p in before.problems(held, original)] == ["PID-8"]
    with pytest.raises(NotMapped):
        before.send(held, original)
    codes = tmp_path / "hl7v2" / "codes"
    codes.mkdir()
    (codes / "0001.csv").write_text("code,fhir,system,display,note\nW,female,,,weiblich\n")
    after = Hl7v2(house.intake, Maps(house.operators))
    assert after.problems(held, original) == []
    went_in = after.send(held, original)
    assert "registration.PatientRegistered" in house.events()
    assert house.inbox._messages[went_in].door == "quarantine:hl7v2"
    assert house.source(house.inbox._messages[went_in]) == raw
    restarted = Door(Senders(house.operators), Maps(house.operators), house.intake, house.quarantine)
    assert b"\rMSA|AA|1\r" in restarted.answer(raw), "its sender, who sends it once more, gets the first answer"


def test_a_message_with_a_used_control_id_goes_in_from_quarantine(house: House) -> None:
    house.send(message())
    house.send(message(pid="PID|1||4712^^^STJUDE^MR||Huber"))
    [held] = house.kept.rows("stjude", state=WAITING)
    Hl7v2(house.intake, Maps(house.operators)).send(held, house.quarantine.original(held))
    assert house.events().count("registration.PatientRegistered") == 2


def test_a_message_whose_process_was_killed_is_finished_from_what_was_decided(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed  # it is recorded, and nothing of it is appended

    with monkeypatch.context() as patched:
        patched.setattr(house.journals["registration"], "append", killed)
        with pytest.raises(Killed):
            house.send(message())
    assert house.intake.recover() == 1
    assert sorted(house.events()) == ["chart.ResourceRecorded", "registration.PatientRegistered"]
    assert house.send(message())[1] == "MSA|AA|1"
    assert len(house.events()) == 2


def test_messages_without_a_control_id_are_refused_each_for_itself(house: House) -> None:
    for number in ("4711", "4712"):
        _, msa, err = house.send(message(control="", pid=f"PID|1||{number}^^^STJUDE^MR||Huber"))
        assert msa == "MSA|AE|"
        assert err.startswith("ERR||MSH^1^10|101^")
    assert len(house.kept.rows("stjude", state=WAITING)) == 2
    assert not house.events()
