"""Typical clinical findings: observations, reports, conditions."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from epicrisis.simulate.corpus.voice import Voice
from epicrisis.simulate.fhir import LOINC, SNOMED, Json, coding, hl7, quantity
from epicrisis.simulate.tables import table


def _number(voice: Voice, low: float, high: float, decimals: int) -> str:
    places = voice.chance.one([decimals, decimals, 14, 13, 4])
    return voice.chance.number(low, high, places)


def _category(voice: Voice, code: str, display: str) -> list[Json]:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return [{"coding": [coding(system, code, voice.chance.one([code, display, ""]))]}]


def _observed(voice: Voice, category: tuple[str, str], code: Json) -> Json:
    made = voice.head("Observation")
    made["status"] = voice.chance.one(["final", "final", "final", "amended", "preliminary"])
    made |= {"category": _category(voice, *category), "code": code}
    made |= {"subject": voice.subject(), "encounter": voice.encounter(), "effectiveDateTime": voice.time()}
    if voice.chance.odds(0.8):
        made["issued"] = voice.time(millis=True)
    if voice.chance.odds(0.05):
        made["performer"] = [voice.doctor()]
    return made


def _measured(voice: Voice, row: list[Any]) -> Json:
    unit, low, high, decimals = row[2:]
    return quantity(_number(voice, low, high, decimals), unit)


def observation(voice: Voice) -> Json:
    """A measurement, a pressure with its components, a survey's answer or a score."""
    kind = voice.chance.random()
    data = table("observations")
    if kind < 0.35:
        row = voice.chance.one(data["vital_signs"])
        made = _observed(voice, ("vital-signs", "Vital Signs"), voice.said(LOINC, row))
        return made | {"valueQuantity": _measured(voice, row)}
    if kind < 0.72:
        row = voice.chance.one(data["laboratory"])
        made = _observed(voice, ("laboratory", "Laboratory"), voice.said(LOINC, row))
        made["valueQuantity"] = _measured(voice, row)
        if voice.chance.odds(0.08):
            flag = voice.chance.one([("H", "High"), ("L", "Low"), ("N", "Normal")])
            made["interpretation"] = [hl7("v3-ObservationInterpretation", *flag)]
            made["referenceRange"] = [{"low": quantity(str(row[3]), row[2]), "high": quantity(str(row[4]), row[2])}]
        return made
    if kind < 0.82:
        return _pressure(voice)
    if kind < 0.88:
        row = voice.chance.one(data["scores"])
        made = _observed(voice, ("survey", "Survey"), voice.said(LOINC, row))
        value = quantity(str(voice.chance.randrange(row[2])), "{score}")
        return made | {"valueQuantity": value}
    row = voice.chance.one(data["surveys"])
    category = voice.chance.one(
        [("survey", "Survey"), ("social-history", "Social History"), ("laboratory", "Laboratory")]
    )
    made = _observed(voice, category, voice.said(LOINC, row))
    return made | _answer(voice, voice.chance.one(row[2]))


def _answer(voice: Voice, text: str) -> Json:
    if text.startswith(("sct ", "loinc ")):
        system, code, display = text.split(" ", 2)
        return {"valueCodeableConcept": voice.said(SNOMED if system == "sct" else LOINC, [code, display])}
    return {"valueString": text}


def _pressure(voice: Voice) -> Json:
    shown = voice.chance.one(["Blood Pressure", "Blood pressure panel with all children optional"])
    made = _observed(voice, ("vital-signs", "Vital Signs"), voice.said(LOINC, ["85354-9", shown]))
    parts = [["8462-4", "Diastolic Blood Pressure"], ["8480-6", "Systolic Blood Pressure"]]
    if voice.chance.odds(0.4):
        parts = [["8462-4", "Diastolic blood pressure"], ["8480-6", "Systolic blood pressure"]]
    if voice.chance.odds(0.3):
        parts.reverse()
    made["component"] = [
        {"code": voice.said(LOINC, part), "valueQuantity": quantity(_number(voice, 60, 180, 0), "mm[Hg]")}
        for part in parts
    ]
    return made


def condition(voice: Voice) -> Json:
    """A finding or a disease with its two statuses."""
    made = voice.head("Condition")
    state = voice.chance.one(["active", "active", "resolved", "inactive"])
    sure = voice.chance.one(["confirmed", "confirmed", "confirmed", "provisional", "unconfirmed"])
    made["clinicalStatus"] = hl7("condition-clinical", state)
    made["verificationStatus"] = hl7("condition-ver-status", sure)
    if voice.chance.odds(0.5):
        kinds = [("encounter-diagnosis", "Encounter Diagnosis"), ("problem-list-item", "Problem List Item")]
        made["category"] = [hl7("condition-category", *voice.chance.one(kinds))]
    made["code"] = voice.snomed("findings")
    made |= {"subject": voice.subject(), "encounter": voice.encounter(), "onsetDateTime": voice.time()}
    if state == "resolved":
        made["abatementDateTime"] = voice.time(60 * 24 * voice.chance.randrange(1, 60))
    return made | {"recordedDate": voice.time()}


def diagnostic_report(voice: Voice) -> Json:
    """A laboratory panel with its results, or a note."""
    made = voice.head("DiagnosticReport") | {"status": "final"}
    results: list[Json] = []
    if voice.chance.odds(0.4):
        kinds = [["34117-2", "History and physical note"], ["51847-2", "Evaluation + Plan note"]]
        code = {"coding": [coding(LOINC, *kind) for kind in kinds]}
        made |= {"category": [code], "code": code}
    else:
        panel = voice.chance.one(table("observations")["panels"])
        laboratory = voice.chance.one([("LAB", "Laboratory"), ("LAB", "Laboratory"), ("LAB", "")])
        made |= {"category": [hl7("v2-0074", *laboratory)], "code": voice.said(LOINC, panel)}
        for part in panel[2]:
            shown = voice.chance.one([row[1] for row in table("observations")["laboratory"] if row[0] == part])
            to = voice.to("Observation", voice.chance.uuid())["reference"]
            results.append({"reference": to, "display": shown})
    made |= {"subject": voice.subject(), "encounter": voice.encounter(), "effectiveDateTime": voice.time()}
    made["issued"] = voice.time(millis=True)
    if results and voice.displays:
        made["performer"] = [voice.house()]
    if results:
        return made | {"result": results}
    return made | {"performer": [voice.doctor()], "presentedForm": [note(voice)]}


def note(voice: Voice) -> Json:
    """An attachment with a clinical note, base64."""
    shapes, concepts = table("shapes"), table("concepts")
    found = [voice.chance.one(concepts["findings"])[1].lower() for _ in range(2)]
    drug = voice.chance.one(concepts["medications"])[1].lower()
    who, years = voice.chance.one(shapes["given"]), voice.chance.randrange(1, 95)
    story = f"{who} is a {years} year-old patient. Patient has a history of {', '.join(found)}."
    parts = [
        f"\n{voice.date()}\n",
        f"# Chief Complaint\n{voice.chance.one(['No complaints.', '- Cough', '- Fever', '- Fatigue'])}\n",
        f"# History of Present Illness\n{story}\n",
        "# Social History\nPatient has never smoked.\n",
        f"# Allergies\n{voice.chance.one(['No Known Allergies.', 'Penicillin'])}\n",
        f"# Medications\n{voice.chance.one(['No Active Medications.', drug])}\n",
        f"# Assessment and Plan\nPatient is presenting with {found[0]}.\n",
        "## Plan\n",
    ]
    data = b64encode("\n".join(parts).encode()).decode()
    return {"contentType": voice.chance.one(["text/plain; charset=utf-8", "text/plain"]), "data": data}
