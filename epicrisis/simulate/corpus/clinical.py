"""Typical clinical resources: what is observed, found, done and given."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from epicrisis.simulate.corpus.voice import Voice
from epicrisis.simulate.fhir import LOINC, SNOMED, Json, coding, decimal, hl7, narrative, quantity
from epicrisis.simulate.tables import table

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"


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


def care_plan(voice: Voice) -> Json:
    """A plan of care with its activities."""
    made = voice.head("CarePlan")
    plan, acts = voice.snomed("plans"), [voice.snomed("activities") for _ in range(voice.chance.randrange(1, 4))]
    shown = [act["coding"][0]["display"] for act in acts]
    if voice.chance.odds(0.6):
        items = "".join(f"<li>{item}</li>" for item in shown)
        html = f"Care Plan for {plan['coding'][0]['display']}.<br/>Activities: <ul>{items}</ul>"
        made["text"] = narrative(html)
    made |= {"status": voice.chance.one(["active", "completed"]), "intent": "order"}
    assess = concept_assess_plan()
    made["category"] = [assess, plan] if voice.profile == "us-core" else [plan]
    made |= {"subject": voice.subject(), "encounter": voice.encounter(), "period": {"start": voice.time()}}
    if voice.displays:
        made["careTeam"] = [voice.to("CareTeam", voice.chance.uuid())]
    made["addresses"] = [voice.to("Condition", voice.chance.uuid())]
    if voice.chance.odds(0.4):
        made["goal"] = [voice.to("Goal", voice.chance.uuid())]
    status = voice.chance.one(["in-progress", "completed"])
    details: list[Json] = []
    for act in acts:
        detail: Json = {"code": act, "status": status}
        if voice.displays:
            detail["location"] = {"display": voice.house()["reference"]}
        details.append({"detail": detail})
    return made | {"activity": details}


def concept_assess_plan() -> Json:
    """US Core's category of a plan."""
    return {"coding": [{"system": "http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "code": "assess-plan"}]}


def goal(voice: Voice) -> Json:
    """A goal of care."""
    made = voice.head("Goal") | {"lifecycleStatus": voice.chance.one(["accepted", "active"])}
    made["achievementStatus"] = hl7("goal-achievement", "in-progress")
    text = voice.chance.one(
        [
            "Hemoglobin A1c total in Blood < 7.0",
            "Blood Pressure below 140/90 mm Hg",
            "Maintain a healthy weight",
            "Glucose [Mass/volume] in Blood < 108",
        ]
    )
    made |= {"description": {"text": text}, "subject": voice.subject()}
    return made | {"addresses": [voice.to("Condition", voice.chance.uuid())]}
