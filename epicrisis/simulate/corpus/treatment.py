"""Typical treatment: what is done, given, planned and to be avoided."""

from __future__ import annotations

from epicrisis.simulate.corpus.voice import Voice
from epicrisis.simulate.fhir import Json, decimal, hl7, narrative
from epicrisis.simulate.tables import table

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"


def procedure(voice: Voice) -> Json:
    """Something that was done."""
    made = voice.head("Procedure") | {"status": "completed", "code": voice.snomed("procedures")}
    made |= {"subject": voice.subject(), "encounter": voice.encounter()}
    if voice.chance.odds(0.9):
        made["performedPeriod"] = voice.period(voice.chance.one([15, 30, 45, 60, 90]))
    else:
        made["performedDateTime"] = voice.time()
    if voice.displays:
        made["location"] = voice.house("Location")
    if voice.chance.odds(0.3):
        shown = voice.chance.one(table("concepts")["findings"])[1]
        made["reasonReference"] = [voice.to("Condition", voice.chance.uuid(), shown)]
    return made


def immunization(voice: Voice) -> Json:
    """A vaccination."""
    made = voice.head("Immunization") | {"status": "completed"}
    made["vaccineCode"] = voice.said(CVX, voice.chance.one(table("concepts")["vaccines"]))
    made |= {"patient": voice.subject(), "encounter": voice.encounter(), "occurrenceDateTime": voice.time()}
    made["primarySource"] = True
    if voice.displays:
        made["location"] = voice.house("Location")
    return made


def medication_request(voice: Voice) -> Json:
    """A prescription, sometimes with its dosage."""
    made = voice.head("MedicationRequest")
    made |= {"status": voice.chance.one(["active", "stopped", "completed"]), "intent": "order"}
    made["medicationCodeableConcept"] = voice.said(RXNORM, voice.chance.one(table("concepts")["medications"]))
    made |= {"subject": voice.subject(), "encounter": voice.encounter(), "authoredOn": voice.time()}
    made["requester"] = voice.doctor()
    if voice.chance.odds(0.6):
        made["reasonReference"] = [voice.to("Condition", voice.chance.uuid())]
    if voice.chance.odds(0.5):
        made["dosageInstruction"] = [_dosage(voice)]
    return made


def _dosage(voice: Voice) -> Json:
    chance = voice.chance
    every: Json = {"frequency": chance.randrange(1, 4), "period": decimal(chance.one(["1.0", "1", "4.0"]))}
    made: Json = {"sequence": 1}
    if chance.odds(0.2):
        made["text"] = chance.one(["Take as needed.", "Take once daily.", "Take with food."])
    made["timing"] = {"repeat": every | {"periodUnit": chance.one(["d", "h"])}}
    made["asNeededBoolean"] = chance.odds(0.3)
    dose = {"value": decimal(chance.one(["1.0", "2.0", "1"]))}
    return made | {"doseAndRate": [{"type": hl7("dose-rate-type", "ordered", "Ordered"), "doseQuantity": dose}]}


def allergy(voice: Voice) -> Json:
    """An allergy."""
    made = voice.head("AllergyIntolerance")
    made["clinicalStatus"] = hl7("allergyintolerance-clinical", "active")
    made["verificationStatus"] = hl7("allergyintolerance-verification", "confirmed")
    made |= {"type": "allergy", "category": [voice.chance.one(["food", "environment", "medication"])]}
    made |= {"criticality": voice.chance.one(["low", "high"]), "code": voice.snomed("allergies")}
    return made | {"patient": voice.subject(), "recordedDate": voice.time()}


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
