"""What messages become: by the shipped tables, on doubles in memory up to the journals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.doors.hl7v2.compiled import compiled
from epicrisis.doors.hl7v2.errors import NotMapped
from epicrisis.doors.hl7v2.mapping import mapped
from epicrisis.doors.hl7v2.message import read
from epicrisis.fhir.gate import Gate
from tests.hl7v2 import VISIT, House, message, segment

MAPPINGS = compiled()
ORU = ("OBR|1|P1^HIS|F1^LAB|24317-0^Hemogram^LN|||20260301070000+0100|||||||||||||||20260301090000+0100|||F",)


def resources(raw: bytes) -> list[dict[str, Any]]:
    bundle = mapped(read(raw, MAPPINGS.charsets), MAPPINGS).bundle
    Gate().check(bundle)
    return [entry["resource"] for entry in msgspec.json.decode(bundle)["entry"]]


def one(raw: bytes, kind: str) -> dict[str, Any]:
    return next(r for r in resources(raw) if r["resourceType"] == kind)


def obx(value: str, kind: str = "NM", unit: str = "g/L^^UCUM", status: str = "F") -> dict[str, Any]:
    return one(message("ORU^R01", *ORU, f"OBX|1|{kind}|718-7^Hb^LN||{value}|{unit}|||||{status}"), "Observation")


def faults(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(NotMapped) as refused:
        mapped(read(raw, MAPPINGS.charsets), MAPPINGS)
    return [(fault.code, str(fault.place)) for fault in refused.value.faults]


def test_a_patient() -> None:
    pid = (
        "PID|1||4711^^^STJUDE&1.2.40.0.34&ISO^MR~12^^^NPI||Meier&von^Anna^Maria^^Dr.^^L~Huber^Anna^^^^^M||19700412093000|F|"
        "||Weg 1^^Wien^^1010^AT^H||^PRN^PH^^43^1^5550||de|M"
    )
    patient = one(message(pid=pid), "Patient")
    assert [(i["system"], i["value"]) for i in patient["identifier"]] == [
        ("urn:oid:1.2.40.0.34", "4711"),
        ("http://hl7.org/fhir/sid/us-npi", "12"),
    ]
    assert patient["name"] == [
        {"use": "official", "family": "Meier", "given": ["Anna", "Maria"], "prefix": ["Dr."]},
        {"use": "maiden", "family": "Huber", "given": ["Anna"]},
    ]
    assert (patient["birthDate"], patient["gender"]) == ("1970-04-12", "female")
    assert patient["address"] == [
        {"use": "home", "line": ["Weg 1"], "city": "Wien", "postalCode": "1010", "country": "AT"}
    ]
    assert patient["telecom"] == [{"system": "phone", "value": "+43 1 5550", "use": "home"}]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("A01", "in-progress"),
        ("A03", "finished"),
        ("A08", "in-progress"),
        ("A11", "cancelled"),
        ("A13", "in-progress"),
    ],
)
def test_the_status_of_a_visit(event: str, status: str) -> None:
    encounter = one(message(f"ADT^{event}"), "Encounter")
    assert encounter["status"] == status
    assert encounter["period"] == {"start": "2026-03-01T08:00:00+01:00"}
    assert encounter["class"]["code"] == "IMP"


def test_a_visit_that_has_ended_is_finished_until_its_discharge_is_cancelled() -> None:
    pv1 = segment("PV1", {**VISIT, 45: "202603051000+0100"})
    assert one(message("ADT^A08", pv1=pv1), "Encounter")["period"]["end"] == "2026-03-05T10:00:00+01:00"
    assert one(message("ADT^A08", pv1=pv1), "Encounter")["status"] == "finished"
    assert "end" not in one(message("ADT^A13", pv1=pv1), "Encounter")["period"]


def test_a_transfer_names_the_place_before() -> None:
    pv1 = segment("PV1", {**VISIT, 6: "SUR^3^2"})
    places = one(message("ADT^A02", pv1=pv1), "Encounter")["location"]
    assert [(p["location"]["display"], p["status"]) for p in places] == [
        ("ONC, 12, 1", "active"),
        ("SUR, 3, 2", "completed"),
    ]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("1.10", "NM", {"valueQuantity": {"value": 1.1, "unit": "g/L", "system": "http://unitsofmeasure.org"}}),
        ("+0065.80", "NM", {"valueQuantity": {"value": 65.8}}),
        (">^100", "SN", {"valueQuantity": {"comparator": ">", "value": 100}}),
        ("^1^-^2", "SN", {"valueRange": {"low": {"value": 1}, "high": {"value": 2}}}),
        ("^1^:^128", "SN", {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}),
        ("^2^+", "SN", {"valueString": "2, +"}),
        ("LA6576-8^Positive^LN", "CWE", {"valueCodeableConcept": {"coding": [{"code": "LA6576-8"}]}}),
        ("a~b", "ST", {"valueString": "a\nb"}),
        ("20260301", "DT", {"valueDateTime": "2026-03-01"}),
        ("0815", "TM", {"valueTime": "08:15:00"}),
        ("20260301^20260302", "DR", {"valuePeriod": {"start": "2026-03-01", "end": "2026-03-02"}}),
        ("7~8", "NM", {"component": [{"valueQuantity": {"value": 7}}, {"valueQuantity": {"value": 8}}]}),
    ],
)
def test_values(value: str, kind: str, expected: dict[str, Any]) -> None:
    def within(part: Any, whole: Any) -> bool:
        if isinstance(part, dict):
            return all(name in whole and within(item, whole[name]) for name, item in part.items())
        if isinstance(part, list):
            return len(part) == len(whole) and all(map(within, part, whole))
        return bool(part == whole)

    assert within(expected, obx(value, kind))


def test_the_digits_stay_as_they_were_sent() -> None:
    raw = message("ORU^R01", *ORU, "OBX|1|NM|718-7^Hb^LN||1.10|g/L|||||F")
    assert b'"value":1.10,' in mapped(read(raw, MAPPINGS.charsets), MAPPINGS).bundle


def test_results_belong_to_their_report_and_notes_to_what_they_follow() -> None:
    raw = message(
        "ORU^R01", *ORU, "NTE|1||on the report",
        "OBX|1|NM|718-7^Hb^LN||1|g/L|||||F", "NTE|1||on the result~second line",
        "OBR|2|P2|F2^LAB|2345-7^Glucose^LN||||||||||||||||||||||F", "OBX|1|NM|2345-7^Glucose^LN||5|mmol/L|||||P",
        "SPM|1|^S1^LAB||BLD",
    )  # fmt: skip
    found = resources(raw)
    reports = [r for r in found if r["resourceType"] == "DiagnosticReport"]
    assert [len(r["result"]) for r in reports] == [1, 1]
    assert reports[0]["extension"][0]["valueAnnotation"]["text"] == "on the report"
    observations = [r for r in found if r["resourceType"] == "Observation"]
    assert observations[0]["note"] == [{"text": "on the result\nsecond line"}]
    assert [o["status"] for o in observations] == ["final", "preliminary"]
    assert "specimen" in reports[1]
    assert "specimen" not in reports[0]


def test_a_laboratory_makes_an_unknown_patient_and_changes_no_known_one() -> None:
    house = House()
    house.send(message("ORU^R01", *ORU, "OBX|1|NM|718-7^Hb^LN||1|g/L|||||F", control="1", pv1=""))
    assert house.events().count("registration.PatientRegistered") == 1
    other = "PID|1||4711^^^STJUDE^MR||Maier^Ana||19700412|F"
    house.send(message("ORU^R01", *ORU, "OBX|1|NM|718-7^Hb^LN||2|g/L|||||C", control="2", pid=other, pv1=""))
    assert "registration.PatientDetailsChanged" not in house.events()
    house.send(message("ADT^A08", control="3", pid=other))
    assert "registration.PatientDetailsChanged" in house.events()


def test_the_same_things_again_in_other_messages_are_the_same_resources() -> None:
    house = House()
    for control, value, status in (("1", "1.0", "P"), ("2", "1.0", "F"), ("3", "1.1", "C")):
        raw = message("ORU^R01", *ORU, f"OBX|1|NM|718-7^Hb^LN||{value}|g/L|||||{status}", control=control, pv1="")
        assert house.send(raw)[1] == f"MSA|AA|{control}"
    assert house.events().count("chart.ResourceRecorded") == 2  # the report, the result
    assert house.events().count("chart.ResourceAmended") == 2


def test_two_results_of_one_name_in_one_order_are_two_and_a_line_sent_twice_is_one() -> None:
    line = "OBX|1|NM|718-7^Hb^LN||1|g/L|||||F"
    raw = message("ORU^R01", *ORU, line, line, line.replace("||1|", "||2|"))
    assert sum(r["resourceType"] == "Observation" for r in resources(raw)) == 2


def test_a_referral_names_the_clinics_and_its_cancellation_is_told() -> None:
    house = House()
    rf1 = "RF1|P|R|Med^Medical||O|R77^STJUDE|20260301"
    prd = "PRD|RT|Gruber^Eva||||||||Radiant Hospital"
    for event, control in (("REF^I12", "1"), ("REF^I13", "2"), ("REF^I14", "3")):
        raw = message(event, control=control, pv1="").decode().replace("\rPID", f"\r{rf1}\r{prd}\rPID").encode()
        assert house.send(raw)[1].startswith("MSA|AA")
    assert [e for e in house.events() if e.startswith("referral")] == [
        "referral.ReferralRequested",
        "referral.ReferralRevised",
        "referral.ReferralCancelled",
    ]


def test_an_order_and_its_cancellation_are_one_request() -> None:
    house = House()
    obr = "OBR|1|||24725-4^CT Head^LN"
    assert house.send(message("ORM^O01", "ORC|NW|P9^HIS", obr, control="1", pv1=""))[1] == "MSA|AA|1"
    assert house.send(message("ORM^O01", "ORC|CA|P9^HIS", obr, control="2", pv1=""))[1] == "MSA|AA|2"
    assert [e for e in house.events() if e.startswith("referral.")][-1] == "referral.ReferralCancelled"
    assert house.events().count("referral.ReferralRequested") == 1


def test_a_merge_is_recorded_on_both_patients() -> None:
    raw = message("ADT^A40", "MRG|815^^^STJUDE^MR||||||Mayer^Anna", pv1="")
    kept, merged = resources(raw)
    assert kept["link"][0]["type"] == "replaces"
    assert merged["link"][0]["type"] == "replaced-by"
    assert (merged["active"], merged["name"][0]["family"]) == (False, "Mayer")
    house = House()
    assert house.send(raw)[1] == "MSA|AA|1"
    assert house.events() == ["registration.PatientRegistered"] * 2


def test_times_get_the_zone_of_msh_7_and_without_any_the_day_stays() -> None:
    raw = message("ORU^R01", *ORU, "OBX|1|NM|718-7^Hb^LN||1|g/L|||||F|||20260301083000")
    assert one(raw, "Observation")["effectiveDateTime"] == "2026-03-01T08:30:00+01:00"
    raw = raw.replace(b"20260301083000+0100|", b"20260301083000|")
    assert one(raw, "Observation")["effectiveDateTime"] == "2026-03-01"


def test_all_that_is_wrong_is_told_at_once_with_its_places() -> None:
    pid = "PID|1||||Meier||19701301|X"
    assert faults(message(pid=pid, pv1="PV1|1|Q")) == [
        ("101", "PID-3"),
        ("102", "PID-7"),
        ("103", "PID-8"),
        ("103", "PV1-2"),
    ]
    assert faults(message("ORU^R01", *ORU, "OBX|1|NM|718-7^Hb^LN||1,5|g/L|||||F")) == [("102", "OBX-5")]
    assert faults(message("ORU^R01", "OBX|1|NM|||1")) == [("101", "OBR"), ("101", "OBX-3")]


@pytest.mark.parametrize(
    ("event", "code", "place"),
    [
        ("ADT^A05", "201", "MSH-9.2"),
        ("MDM^T02", "200", "MSH-9.1"),
        ("", "101", "MSH-9.1"),
        ("ADT", "101", "MSH-9.2"),
    ],
)
def test_other_types_are_refused_at_msh_9(event: str, code: str, place: str) -> None:
    assert faults(message(event)) == [(code, place)]


def test_the_event_may_stand_in_evn_alone() -> None:
    assert one(message("ADT", "EVN|A03|20260301"), "Encounter")["status"] == "finished"


FIELDS = st.text(st.sampled_from("AF19 .^~&\\|-:/\u00fc"), max_size=40)
SEGMENTS = st.lists(
    st.tuples(st.sampled_from("PID PV1 NK1 ORC OBR OBX NTE DG1 AL1 PR1 SPM MRG RF1 PRD ZZZ".split()), FIELDS),
    max_size=8,
)


@given(st.sampled_from([*MAPPINGS.kinds, "ADT^A99"]), SEGMENTS)
def test_any_segments_are_a_bundle_or_refused_with_places(event: str, segments: list[tuple[str, str]]) -> None:
    raw = message(event, *(f"{name}|{rest}" for name, rest in segments))
    try:
        made = mapped(read(raw, MAPPINGS.charsets), MAPPINGS)
    except NotMapped as refusal:
        places = [fault.place.segment for fault in refusal.faults]
    else:
        places = ["MSH"]
        assert made.bundle == mapped(read(raw, MAPPINGS.charsets), MAPPINGS).bundle
    assert places
    assert all(places)


def test_what_is_remembered_of_one_sender_is_not_said_of_another_and_has_a_bound() -> None:
    """The same text under other separators is another value."""
    mappings = compiled()
    for number, escape in enumerate("!$%@?<>=;:'\"{}[]"):
        raw = message("ADT^A28", pid="PID|1||1||M^A||19700412|F|||||||de*deu^x", pv1="")
        raw = raw.replace(b"^~\\&", f"*~{escape}&".encode() if number % 2 else b"^~\\&").replace(b"ADT^A28", b"ADT*A28")
        raw = raw if number % 2 else raw.replace(b"ADT*A28", b"ADT^A28")
        bundle = msgspec.json.decode(mapped(read(raw, mappings.charsets), mappings).bundle)
        language = bundle["entry"][0]["resource"]["communication"][0]["language"]
        expected = ("de", "deu^x") if number % 2 else ("de*deu", "x")
        assert (language["coding"][0]["code"], language["coding"][0]["display"]) == expected
    assert len(mappings.memo) <= 9


def test_what_a_sender_names_by_words_of_its_own_is_not_remembered_for_another() -> None:
    mappings = compiled()
    systems = []
    for facility in (b"MAIN", b"OTHER"):
        raw = message(pv1="PV1|1|I|||||7^Arzt|||||||||||V1").split(b"|")
        raw[3] = facility
        bundle = msgspec.json.decode(mapped(read(b"|".join(raw), mappings.charsets), mappings).bundle)
        (participant,) = bundle["entry"][1]["resource"]["participant"]
        systems.append(participant["individual"]["identifier"]["system"])
    assert systems == [f"urn:epicrisis:hl7v2:{name}" for name in ("MAIN", "OTHER")]
