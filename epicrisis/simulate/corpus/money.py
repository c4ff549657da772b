"""Typical bills: claims, the payer's answers, coverage. The CMS names are those of its public Blue Button API."""

from __future__ import annotations

from epicrisis.simulate.corpus.voice import Voice
from epicrisis.simulate.fhir import Json, coding, concept, decimal, hl7
from epicrisis.simulate.tables import table

CMS = "https://bluebutton.cms.gov/resources/"
TYPES = ["institutional", "institutional", "pharmacy", "professional"]
ADJUDICATION = [
    ("line_coinsrnc_amt", "Line Beneficiary Coinsurance Amount"),
    ("line_prvdr_pmt_amt", "Line Provider Payment Amount"),
    ("line_sbmtd_chrg_amt", "Line Submitted Charge Amount"),
    ("line_alowd_chrg_amt", "Line Allowed Charge Amount"),
    ("line_bene_ptb_ddctbl_amt", "Line Beneficiary Part B Deductible Amount"),
    ("line_prcsg_ind_cd", "Line Processing Indicator Code"),
]


def _money(voice: Voice, *, exact: bool = False) -> Json:
    decimals = 2 if exact else voice.chance.one([2, 2, 14])
    return {"value": decimal(voice.chance.number(50, 900, decimals)), "currency": "USD"}


def _service(voice: Voice) -> Json:
    concepts = table("concepts")
    kind = voice.chance.random()
    if kind < 0.2:
        return voice.said("http://hl7.org/fhir/sid/cvx", voice.chance.one(concepts["vaccines"]))
    if kind < 0.3:
        return voice.said("http://www.nlm.nih.gov/research/umls/rxnorm", voice.chance.one(concepts["medications"]))
    return voice.snomed(voice.chance.one(["visits", "findings", "procedures"]))


def claim(voice: Voice) -> Json:
    """A bill with its items."""
    chance = voice.chance
    made = voice.head("Claim") | {"status": "active", "type": hl7("claim-type", chance.one(TYPES)), "use": "claim"}
    made |= {"patient": voice.to("Patient", voice.patient_id, " ".join(voice.person)), "billablePeriod": voice.period()}
    made |= {"created": voice.time(15), "provider": voice.house()}
    made["priority"] = hl7("processpriority", "normal")
    if voice.displays:
        made["facility"] = voice.house("Location")
    count = chance.randrange(1, 5)
    if chance.odds(0.2):
        made["prescription"] = voice.to("MedicationRequest", chance.uuid())
    if chance.odds(0.4):
        made["procedure"] = [
            {"sequence": n + 1, "procedureReference": voice.to("Procedure", chance.uuid())} for n in range(count)
        ]
    if chance.odds(0.4):
        info = hl7("claiminformationcategory", "info")
        made["supportingInfo"] = [
            {"sequence": 1, "category": info, "valueReference": voice.to("Immunization", chance.uuid())}
        ]
    if chance.odds(0.5):
        made["diagnosis"] = [
            {"sequence": n + 1, "diagnosisReference": voice.to("Condition", chance.uuid())} for n in range(count)
        ]
    payer = {"display": chance.one(table("shapes")["payers"])}
    made["insurance"] = [{"sequence": 1, "focal": True, "coverage": payer}]
    visit = {"sequence": 1, "productOrService": voice.snomed("visits"), "encounter": [voice.encounter()]}
    made["item"] = [visit] + [_item(voice, n + 2) for n in range(count)]
    return made | {"total": _money(voice)}


def _item(voice: Voice, number: int) -> Json:
    made: Json = {"sequence": number}
    link = voice.chance.one(["diagnosisSequence", "procedureSequence", "informationSequence"])
    made[link] = [number - 1]
    made["productOrService"] = _service(voice)
    if link != "diagnosisSequence":
        made["net"] = _money(voice)
    return made


def benefit(voice: Voice) -> Json:
    """What the payer answered, item by item."""
    chance = voice.chance
    bill, payer = chance.uuid(), chance.one(table("shapes")["payers"])
    made = voice.head("ExplanationOfBenefit")
    doctor = voice.doctor()
    plain = {"reference": doctor["reference"]}
    referral: Json = {"resourceType": "ServiceRequest", "id": "referral", "status": "completed", "intent": "order"}
    referral |= {"subject": voice.subject(), "requester": plain, "performer": [plain]}
    cover: Json = {"resourceType": "Coverage", "id": "coverage", "status": "active", "type": {"text": payer}}
    cover |= {"beneficiary": voice.subject(), "payor": [{"display": payer}]}
    made["contained"] = [referral, cover]
    made["identifier"] = [
        {"system": CMS + "variables/clm_id", "value": bill},
        {"system": CMS + "identifier/claim-group", "value": "99999999999"},
    ]
    made |= {"status": "active", "type": hl7("claim-type", chance.one(TYPES)), "use": "claim"}
    made |= {"patient": voice.subject(), "billablePeriod": voice.period(60 * 24 * 365), "created": voice.time(15)}
    made |= {"insurer": {"display": payer}, "provider": plain, "referral": {"reference": "#referral"}}
    if voice.displays:
        made["facility"] = voice.house("Location")
    made |= {"claim": voice.to("Claim", bill), "outcome": "complete"}
    role = hl7("claimcareteamrole", "primary", "Primary Care Practitioner")
    made["careTeam"] = [{"sequence": 1, "provider": plain, "role": role}]
    if chance.odds(0.6):
        principal = concept("http://terminology.hl7.org/CodeSystem/ex-diagnosistype", "principal")
        made["diagnosis"] = [
            {"sequence": n + 1, "diagnosisReference": voice.to("Condition", chance.uuid()), "type": [principal]}
            for n in range(chance.randrange(1, 3))
        ]
    made["insurance"] = [{"focal": True, "coverage": {"reference": "#coverage", "display": payer}}]
    made["item"] = [_paid(voice, n + 1) for n in range(chance.randrange(1, 5))]
    submitted = hl7("adjudication", "submitted", "Submitted Amount")
    amount = _money(voice)
    made["total"] = [{"category": submitted | {"text": "Submitted Amount"}, "amount": amount}]
    return made | {"payment": {"amount": _money(voice)}}


def _paid(voice: Voice, number: int) -> Json:
    made: Json = {"sequence": number}
    if number > 1:
        made["diagnosisSequence"] = [1]
    made["category"] = concept(CMS + "variables/line_cms_type_srvc_cd", "1", "Medical care")
    made["productOrService"] = voice.snomed("visits") if number == 1 else _service(voice)
    made["servicedPeriod"] = voice.period()
    place = coding(
        "http://terminology.hl7.org/CodeSystem/ex-serviceplace",
        *voice.chance.one(
            [
                ("19", "Off Campus-Outpatient Hospital"),
                ("21", "Inpatient Hospital"),
                ("20", "Urgent Care Facility"),
                ("23", "Emergency Room"),
            ]
        ),
    )
    made["locationCodeableConcept"] = {"coding": [place]}
    if number == 1:
        made["encounter"] = [voice.encounter()]
    if voice.chance.odds(0.7):
        made |= {"net": _money(voice), "adjudication": [_adjudicated(voice, *row) for row in ADJUDICATION]}
    return made


def _adjudicated(voice: Voice, code: str, display: str) -> Json:
    made: Json = {"category": concept(CMS + "codesystem/adjudication", f"{CMS}variables/{code}", display)}
    if code == "line_prcsg_ind_cd":
        made["reason"] = concept(CMS + "variables/line_prcsg_ind_cd", "A", "Allowed")
    else:
        made["amount"] = _money(voice)
    return made


def coverage(voice: Voice) -> Json:
    """An insurance."""
    made = voice.head("Coverage") | {"status": "active", "type": hl7("v3-ActCode", "EHCPOL", "extended healthcare")}
    made |= {
        "subscriber": voice.subject(),
        "beneficiary": voice.subject(),
        "relationship": hl7("subscriber-relationship", "self"),
    }
    return made | {"period": {"start": voice.date()}, "payor": [voice.house()]}
