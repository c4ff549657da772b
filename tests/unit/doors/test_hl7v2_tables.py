"""The mapping tables: those shipped are whole; an operator's lie over them; what is wrong names file and line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from epicrisis.doors.hl7v2.compiled import compiled
from epicrisis.doors.hl7v2.mapping import mapped
from epicrisis.doors.hl7v2.message import read
from epicrisis.errors import SettingsError
from tests.hl7v2 import message


def own(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return folder


HEADS = {
    "segments/PID-Patient.csv": "source,when,target,as,note\n",
    "segments/PV1-Encounter.csv": "source,when,target,as,note\n",
    "segments/ZPI-Patient.csv": "source,when,target,as,note\n",
    "segments/PID-Nothing.csv": "source,when,target,as,note\n",
    "types/XPN-HumanName.csv": "source,when,target,as,note\n",
    "codes/0001.csv": "code,fhir,system,display,note\n",
    "resources.csv": "kinds,segment,resource,table,write,id,when,note\n",
    "settings.csv": "name,value,note\n",
    "charsets.csv": "name,codec,note\n",
    "groups.csv": "segment,level,opens,note\n",
    "systems.csv": "name,uri,note\n",
}


@pytest.mark.parametrize(
    ("file", "rows", "says"),
    [
        ("segments/PID-Patient.csv", "PID-8,,sex,code 0001,", "line 2: column `target`: Patient has no element sex"),
        (
            "segments/PID-Patient.csv",
            "# a note\nPID-8,,gender,code 9999,",
            "line 3: column `as`: there is no codes/9999",
        ),
        ("segments/PID-Patient.csv", "PID8,,gender,code 0001,", "line 2: column `source`: a source is PID-5"),
        ("segments/PID-Patient.csv", "PID-5,,name,,", "line 2: column `as`: name is a HumanName: say from which"),
        ("segments/PID-Patient.csv", "PID-5,,name,CWE,", "line 2: column `as`: there is no types/CWE-HumanName.csv"),
        ("segments/PID-Patient.csv", "PID-7,,birthDate[a],date,", "birthDate does not repeat: leave out [a]"),
        ("segments/PID-Patient.csv", '"""man""",,gender,,', "FHIR allows only male, female, other, unknown"),
        ("segments/PID-Patient.csv", "PID-8,,gender,code 0001,a,b", "line 2: there are 6 cells, for 5 columns"),
        ("segments/PID-Patient.csv", "@Encounter,,gender,,", "gender is no Reference"),
        ("segments/PID-Patient.csv", "ZZ1*,,contact,,", "there is no segments/ZZ1-PatientContact.csv"),
        ("segments/PID-Nothing.csv", "PID-8,,gender,,", "FHIR R4 has no type Nothing"),
        ("codes/0001.csv", "M,man,,,", "line 2: column `fhir`: gender allows only"),
        ("resources.csv", "visit,ZPI,Patience,PID-Patient,always,,,", "line 2: column `resource`: FHIR R4 has no such"),
        ("resources.csv", "visit,ZPI,Patient,ZPI-Patient,always,,,", "there is no segments/ZPI-Patient.csv"),
        ("resources.csv", "visits,PID,Patient,PID-Patient,always,,,", "messages.csv has no visits"),
        ("resources.csv", "visit,PV1,Encounter,PV1-Encounter,maybe,PV1-19,,", "always, new or never"),
        ("resources.csv", "visit,PV1,Encounter,PV1-Encounter,always,,,", "only a Patient who is written"),
        ("settings.csv", "zone,Europe/Wien,", "line 2: no such time zone"),
        ("charsets.csv", "8859/1,latin-99,", "line 2: column `codec`: no such codec"),
        ("groups.csv", "ZPI,patients,always,", "column `level`: one of message, patient"),
        ("systems.csv", "LN,,", "line 2: `name` and `uri` are both needed"),
    ],
)
def test_a_wrong_line_names_file_line_and_what_is_expected(file: str, rows: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        compiled(own(tmp_path, file, HEADS[file] + rows + "\n"))
    assert says in str(refused.value)
    assert Path(file).name in str(refused.value)


def test_a_table_without_its_first_line_and_a_file_of_another_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="line 1: the first line must be: code,fhir,system,display,note"):
        compiled(own(tmp_path / "a", "codes/0001.csv", "M,male\n"))
    with pytest.raises(SettingsError, match=r"system\.csv: no such table; there are messages, "):
        compiled(own(tmp_path / "b", "system.csv", "name,uri,note\n"))


def test_an_operators_row_stands_in_for_the_shipped_rows_of_that_element(tmp_path: Path) -> None:
    text = HEADS["segments/PV1-Encounter.csv"] + "PV1-10,,serviceType,code services,\n-,,participant,,\n"
    own(tmp_path, "segments/PV1-Encounter.csv", text)
    own(
        tmp_path,
        "codes/services.csv",
        HEADS["codes/0001.csv"] + "ONC,394593009,http://snomed.info/sct,Oncology,\n*,,,,\n",
    )
    pv1 = "PV1|1|I|||||1^Arzt|||ONC|||||||||V1"
    made = msgspec.json.decode(mapped(read(message(pv1=pv1), compiled(tmp_path).charsets), compiled(tmp_path)).bundle)
    encounter = made["entry"][1]["resource"]
    coding = {"system": "http://snomed.info/sct", "code": "394593009", "display": "Oncology"}
    assert encounter["serviceType"] == {"coding": [coding]}
    assert "participant" not in encounter, "and for what is in it"
    assert encounter["status"] == "in-progress"


def test_what_a_row_adds_to_a_remembered_value_stays_in_its_message(tmp_path: Path) -> None:
    rows = "PV1-10,,serviceType,CWE,\nPV1-3.1,,serviceType.coding.display,,\n"
    mappings = compiled(own(tmp_path, "segments/PV1-Encounter.csv", HEADS["segments/PV1-Encounter.csv"] + rows))
    for ward in ("ONC", "GYN"):
        raw = message(pv1=f"PV1|1|I|{ward}||||1^Arzt|||07^Ward^L|||||||||V1")
        made = msgspec.json.decode(mapped(read(raw, mappings.charsets), mappings).bundle)
        codings = made["entry"][1]["resource"]["serviceType"]["coding"]
        assert [coding["display"] for coding in codings] == ["Ward", ward]


def test_a_message_of_the_operators_own(tmp_path: Path) -> None:
    own(tmp_path, "messages.csv", "message,kind,note\nADT^A05,visit,pre-admit\n")
    mappings = compiled(tmp_path)
    assert mapped(read(message("ADT^A05"), mappings.charsets), mappings).bundle
    assert "ADT^A01" in mappings.kinds
