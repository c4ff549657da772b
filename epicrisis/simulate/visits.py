"""What a visit leaves behind: the encounter, what was measured, given and billed."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from typing import Any

from epicrisis.simulate.case import Case, snomed
from epicrisis.simulate.fhir import LOINC, SNOMED, TERMINOLOGY, Json, coding, concept, decimal, hl7, quantity
from epicrisis.simulate.letter import Letter
from epicrisis.simulate.tables import table

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"
VITALS = ("8302-2", "29463-7", "8867-4", "9279-1", "8310-5", "59408-5")
PANELS = ("58410-2", "51990-0", "57698-3", "24323-8")


@cache
def _measures() -> dict[str, list[Any]]:
    data = table("observations")
    return {row[0]: row for row in reversed(data["laboratory"] + data["vital_signs"])}


@cache
def _panels() -> dict[str, list[Any]]:
    return {row[0]: row for row in reversed(table("observations")["panels"])}


def encounter(case: Case, letter: Letter, reason: list[str], *, virtual: bool = False) -> Json:
    """An ambulatory contact."""
    kind = ("VR", "virtual") if virtual else ("AMB", "ambulatory")
    made: Json = {"resourceType": "Encounter", "id": case.id("enc"), "status": "finished"}
    made |= {"class": coding(TERMINOLOGY + "v3-ActCode", *kind), "type": [snomed(reason)]}
    made |= {"subject": case.subject(letter.site), "participant": [{"individual": case.doctor(letter.site)}]}
    made["period"] = {"start": letter.time(), "end": letter.time(case.chance.randrange(10, 60))}
    return letter.put(made | {"serviceProvider": letter.site.reference})


def observation(case: Case, letter: Letter, code: str, category: str, contact: Json | None) -> Json:
    """A measurement by its LOINC code; the value keeps all of its decimals."""
    row = _measures()[code]
    _, display, unit, low, high, decimals = row
    made: Json = {"resourceType": "Observation", "status": "final", "category": [hl7("observation-category", category)]}
    made |= {"code": concept(LOINC, code, display), "subject": case.subject(letter.site)}
    if contact:
        made["encounter"] = contact
    made["effectiveDateTime"] = letter.time(case.chance.randrange(10))
    value = case.chance.number(low, high, decimals)
    return made | {"valueQuantity": quantity(value, unit)}


def pressure(case: Case, letter: Letter, contact: Json) -> Json:
    """The blood pressure."""
    made: Json = {"resourceType": "Observation", "status": "final"}
    made["category"] = [hl7("observation-category", "vital-signs")]
    made |= {"code": concept(LOINC, "85354-9", "Blood Pressure"), "subject": case.subject(letter.site)}
    made |= {"encounter": contact, "effectiveDateTime": letter.time(3)}
    made["component"] = [
        {"code": concept(LOINC, code, name), "valueQuantity": quantity(str(case.chance.randrange(low, high)), "mm[Hg]")}
        for code, name, low, high in (
            ("8480-6", "Systolic Blood Pressure", 100, 180),
            ("8462-4", "Diastolic Blood Pressure", 60, 105),
        )
    ]
    return made


def vitals(case: Case, letter: Letter, contact: Json, count: int = 6) -> None:
    """The usual vital signs."""
    for code in VITALS[:count]:
        letter.post(observation(case, letter, code, "vital-signs", contact))
    letter.post(pressure(case, letter, contact))


def laboratory(case: Case, letter: Letter, contact: Json | None, panel: str = "") -> None:
    """A panel of the laboratory: its values and the report on them."""
    row = _panels()[panel or case.chance.one(PANELS)]
    results = [letter.post(observation(case, letter, code, "laboratory", contact)) for code in row[2]]
    made: Json = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "category": [hl7("v2-0074", "LAB", "Laboratory")],
    }
    made |= {"code": concept(LOINC, row[0], row[1]), "subject": case.subject(letter.site)}
    if contact:
        made["encounter"] = contact
    made |= {"effectiveDateTime": letter.time(), "issued": letter.time(90), "performer": [case.doctor(letter.site)]}
    letter.post(made | {"result": results})


def immunization(case: Case, letter: Letter, contact: Json) -> None:
    """A vaccination."""
    made: Json = {"resourceType": "Immunization", "status": "completed"}
    made["vaccineCode"] = concept(CVX, *case.chance.one(table("concepts")["vaccines"]))
    made |= {"patient": case.subject(letter.site), "encounter": contact, "occurrenceDateTime": letter.time(12)}
    letter.post(made | {"primarySource": True, "lotNumber": f"L{case.chance.digits(5)}"})


def allergy(case: Case, letter: Letter) -> Json:
    """An allergy, as it was sent."""
    made: Json = {"resourceType": "AllergyIntolerance", "id": case.id("allergy")}
    made["clinicalStatus"] = hl7("allergyintolerance-clinical", "active")
    made["verificationStatus"] = hl7("allergyintolerance-verification", "confirmed")
    made |= {"code": snomed(case.chance.one(table("concepts")["allergies"])), "patient": case.subject(letter.site)}
    made["recordedDate"] = letter.time()
    letter.put(made)
    return made


def mistaken(letter: Letter, allergy: Json) -> None:
    """The allergy was entered in error: then FHIR allows no clinical status (ait-2)."""
    wrong = {key: value for key, value in allergy.items() if key != "clinicalStatus"}
    letter.put(wrong | {"verificationStatus": hl7("allergyintolerance-verification", "entered-in-error")})


def prescription(case: Case, letter: Letter, contact: Json, drug: list[str], reason: Json | None = None) -> None:
    """A prescription with its dose."""
    made: Json = {"resourceType": "MedicationRequest", "status": "active", "intent": "order"}
    made |= {"medicationCodeableConcept": concept(RXNORM, *drug), "subject": case.subject(letter.site)}
    made |= {"encounter": contact, "authoredOn": letter.time(8), "requester": case.doctor(letter.site)}
    if reason:
        made["reasonReference"] = [reason]
    every = {"repeat": {"frequency": case.chance.randrange(1, 4), "period": 1, "periodUnit": "d"}}
    dose = {"value": decimal(case.chance.one(["1.0", "0.5", "2", "1.10"])), "unit": "tablet"}
    letter.post(made | {"dosageInstruction": [{"timing": every, "doseAndRate": [{"doseQuantity": dose}]}]})


def procedure(case: Case, letter: Letter, row: list[str], contact: Json | None = None) -> None:
    """Something that was done."""
    made: Json = {"resourceType": "Procedure", "status": "completed", "code": concept(SNOMED, *row)}
    made["subject"] = case.subject(letter.site)
    if contact:
        made["encounter"] = contact
    made["performedPeriod"] = {"start": letter.time(5), "end": letter.time(5 + case.chance.randrange(10, 120))}
    letter.post(made | {"performer": [{"actor": case.doctor(letter.site)}]})


def document(case: Case, letter: Letter, code: str) -> None:
    """A note, as text."""
    display = next(row[1] for row in table("observations")["documents"] if row[0] == code)
    words = " ".join(case.chance.sample(table("diseases")["words"]["notes"], 2))
    made: Json = {"resourceType": "DocumentReference", "status": "current", "type": concept(LOINC, code, display)}
    made |= {"subject": case.subject(letter.site), "date": letter.time(20), "author": [case.doctor(letter.site)]}
    attachment = {
        "contentType": "text/plain; charset=utf-8",
        "data": b64encode(f"{display}\n\n{words}\n".encode()).decode(),
    }
    letter.post(made | {"content": [{"attachment": attachment}]})


def bill(case: Case, letter: Letter, contact: Json) -> None:
    """The coverage and a claim under it."""
    payer = {"display": case.chance.one(table("shapes")["payers"])}
    cover: Json = {"resourceType": "Coverage", "status": "active", "beneficiary": case.subject(letter.site)}
    policy = letter.post(cover | {"payor": [payer]})
    made: Json = {
        "resourceType": "Claim",
        "status": "active",
        "type": hl7("claim-type", "professional"),
        "use": "claim",
    }
    made |= {"patient": case.subject(letter.site), "created": letter.time(60), "provider": letter.site.reference}
    made |= {"priority": hl7("processpriority", "normal")}
    made["insurance"] = [{"sequence": 1, "focal": True, "coverage": policy}]
    money = {"value": decimal(case.chance.number(20, 600, 2)), "currency": letter.site.country.currency}
    service = snomed(["185349003", "Encounter for check up (procedure)"])
    made["item"] = [{"sequence": 1, "productOrService": service, "net": money, "encounter": [contact]}]
    letter.post(made | {"total": money})


def care_plan(case: Case, letter: Letter, row: list[str], addresses: Json | None = None) -> None:
    """A plan of care with one or two activities."""
    made: Json = {"resourceType": "CarePlan", "id": case.id("plan"), "status": "active", "intent": "plan"}
    made |= {"category": [snomed(row)], "subject": case.subject(letter.site), "period": {"start": letter.time()}}
    if addresses:
        made["addresses"] = [addresses]
    acts = case.chance.sample(table("concepts")["activities"], 2)
    made["activity"] = [{"detail": {"code": snomed(act), "status": "in-progress"}} for act in acts]
    letter.put(made)
