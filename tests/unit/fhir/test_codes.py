"""Code maps: local codes become standard facts, unmapped ones are marked and listed, nothing is lost."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epicrisis.errors import SettingsError
from epicrisis.fhir.codes import NOTHING, Codes, Fact, Reading, is_standard
from epicrisis.fhir.gate import Gate

LAB, LOINC, SNOMED = "urn:oid:2.999.7.1", "http://loinc.org", "http://snomed.info/sct"
MAP = b"""\xef\xbb\xbflocal_system,local_code,standard_system,standard_code,display
# the laboratory's
urn:oid:2.999.7.1,GLU,http://loinc.org,2339-0,"Glucose, in blood"
urn:oid:2.999.7.1,NA,http://loinc.org,2951-2,
urn:oid:2.999.7.1,OLD,,,
,K,http://loinc.org,2823-3,Potassium

urn:oid:2.999.7.2,*,,,
"""
CODES = Codes.read(MAP, "codes.csv")


def concept(*codings: dict[str, str], text: str = "t") -> Any:
    code: dict[str, Any] = {"text": text} | ({"coding": list(codings)} if codings else {})
    raw = json.dumps({"resourceType": "Basic", "code": code}).encode()
    return Gate().check(raw).parsed.code


def local(code: str, **more: str) -> dict[str, str]:
    return {"system": LAB, "code": code, **more}


def test_a_local_code_becomes_the_standard_one_and_is_kept_beside_it() -> None:
    reading = Reading(CODES)
    assert reading.concept(concept(local("GLU", display="Zucker"))) == Fact(
        LOINC, "2339-0", "Glucose, in blood", f"{LAB}|GLU"
    )
    assert reading.concept(concept(local("NA", display="Natrium"))) == Fact(LOINC, "2951-2", "Natrium", f"{LAB}|NA")
    assert reading.concept(concept({"code": "K"})) == Fact(LOINC, "2823-3", "Potassium", "|K")
    assert reading.unmapped == set()


def test_a_standard_code_is_a_fact_as_it_is() -> None:
    reading = Reading(CODES)
    assert reading.concept(concept({"system": SNOMED, "code": "1"}, local("GLU"))) == Fact(SNOMED, "1", "")
    assert reading.unmapped == set()


def test_a_code_without_a_mapping_is_accepted_marked_and_listed() -> None:
    reading = Reading(CODES)
    fact = reading.concept(concept(local("NEW", display="Neu")))
    assert fact == Fact(LAB, "NEW", "Neu", f"{LAB}|NEW")
    assert fact.unmapped
    reading.concept(concept({"code": "X"}))
    assert reading.unmapped == {(LAB, "NEW"), ("", "X")}


def test_what_the_engineer_knows_to_have_no_standard_code_is_not_listed() -> None:
    reading = Reading(CODES)
    assert reading.concept(concept(local("OLD"))) == Fact(LAB, "OLD", "")
    assert reading.concept(concept({"system": "urn:oid:2.999.7.2", "code": "any"})).local == ""
    assert reading.unmapped == set()


def test_the_senders_own_translation_is_taken_where_the_map_has_none() -> None:
    reading = Reading(CODES)
    both = concept(local("NEW"), {"system": LOINC, "code": "718-7", "display": "Hb"})
    assert reading.concept(both) == Fact(LOINC, "718-7", "Hb", f"{LAB}|NEW")
    assert reading.concept(concept(local("NEW"), local("GLU"))).code == "2339-0"
    assert reading.unmapped == set()


def test_without_a_code_there_is_no_fact_and_nothing_to_list() -> None:
    reading = Reading(CODES)
    assert reading.concept(concept()) is NOTHING
    assert reading.coding(None) is NOTHING
    assert reading.concept(concept({"display": "d"})) == Fact("", "", "d")
    assert reading.pairs(concept()) == []
    assert reading.unmapped == set()


def test_pairs_hold_what_a_local_code_stands_for_and_the_local_one() -> None:
    reading = Reading(CODES)
    assert reading.pairs(concept(local("GLU"), {"system": SNOMED, "code": "1"})) == [
        (LOINC, "2339-0"),
        (LAB, "GLU"),
        (SNOMED, "1"),
    ]
    assert reading.unmapped == set()
    assert reading.pairs(concept(local("NEW"))) == [(LAB, "NEW")]
    assert reading.unmapped == {(LAB, "NEW")}


def test_without_a_map_nothing_is_translated_nor_listed() -> None:
    reading = Reading()
    assert reading.concept(concept(local("GLU", display="d"))) == Fact(LAB, "GLU", "d")
    assert reading.coding(concept(local("x")).coding[0]) == Fact(LAB, "x", "")
    assert reading.unmapped == set()


@pytest.mark.parametrize(
    "system",
    [
        LOINC,
        SNOMED,
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "http://hl7.org/fhir/sid/icd-10",
        "urn:ietf:bcp:47",
    ],
)
def test_standard_systems_are_known(system: str) -> None:
    assert is_standard(system)


@pytest.mark.parametrize("system", ["", LAB, "http://loinc.org/", "http://hospital.example.org/http://hl7.org/fhir/"])
def test_any_other_system_is_local(system: str) -> None:
    assert not is_standard(system)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,b,c", "line 2: expected 5 cells"),
        ("a,,b,c,d", "line 2: local_code is missing"),
        ("a,b,c,,", "line 2: standard_system and standard_code come together"),
        ("a,b,,,d", "line 2: standard_system and standard_code come together"),
        ("a,*,b,c,", "line 2: `*` says that a whole system needs no mapping"),
        ("a b,c,d,e,", "line 2: a system may hold no blank"),
        ("a,b\x07,d,e,", "line 2: a system may hold no blank, and no cell a control character"),
        ("a,b,c,d,\na,b,c,e,", "line 3: the same local code is mapped above"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_expected(line: str, said: str) -> None:
    with pytest.raises(SettingsError, match=r"codes\.csv") as problem:
        Codes.read(f"local_system,local_code,standard_system,standard_code,display\n{line}\n".encode(), "codes.csv")
    assert said in str(problem.value)


@pytest.mark.parametrize("table", [b"", b"a,b\n", b"\xff\xfe"])
def test_what_is_no_code_map_is_refused(table: bytes) -> None:
    with pytest.raises(SettingsError, match=r"codes\.csv: "):
        Codes.read(table, "codes.csv")


_cells = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=8).filter(lambda t: t != "*")


@given(st.dictionaries(st.tuples(_cells, _cells), st.tuples(_cells, _cells, _cells), max_size=5))
@example({("#", "0"): ("0", "0", "0")})
def test_a_map_written_and_read_again_is_the_same(rows: dict[tuple[str, str], tuple[str, str, str]]) -> None:
    codes = Codes([(*key, *value) for key, value in rows.items()])
    again = Codes.read(codes.table(), "again")
    assert (again.table(), again.digest) == (codes.table(), codes.digest)
    assert bool(codes.digest) == bool(rows)
    for (system, code), (to, standard, display) in rows.items():
        fact = Reading(again).concept(concept({"system": system, "code": code}))
        assert fact == Fact(to, standard, display, f"{system}|{code}")
