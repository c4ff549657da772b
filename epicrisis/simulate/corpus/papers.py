"""Typical administration: encounters, documents, provenance, orders, teams, devices and images."""

from __future__ import annotations

from epicrisis.simulate.corpus.clinical import note
from epicrisis.simulate.corpus.voice import Voice
from epicrisis.simulate.fhir import LOINC, SNOMED, TERMINOLOGY, Json, coding, concept, hl7
from epicrisis.simulate.tables import table

CLASSES = [("AMB", "ambulatory"), ("AMB", ""), ("IMP", "inpatient encounter"), ("EMER", "emergency"), ("VR", "virtual")]
DICOM = "http://dicom.nema.org/resources/ontology/DCM"


def encounter(voice: Voice) -> Json:
    """A contact between a patient and a clinic."""
    chance = voice.chance
    made = voice.head("Encounter", voice.encounter_id)
    if chance.odds(0.4):
        made["identifier"] = [
            {"use": "official", "system": "https://hospital.example.org/encounter", "value": made["id"]}
        ]
    made |= {"status": "finished", "class": coding(TERMINOLOGY + "v3-ActCode", *chance.one(CLASSES))}
    made |= {"type": [voice.snomed("visits")], "subject": voice.to("Patient", voice.patient_id, " ".join(voice.person))}
    part: Json = {}
    if chance.odds(0.5):
        role = hl7("v3-ParticipationType", "PPRF", "primary performer") | {"text": "primary performer"}
        part = {"type": [role], "period": voice.period()}
    made["participant"] = [part | {"individual": voice.doctor()}]
    made["period"] = voice.period(chance.one([15, 15, 30, 60]))
    if chance.odds(0.4):
        made["reasonCode"] = [{"coding": [coding(SNOMED, *chance.one(table("concepts")["findings"]))]}]
    if chance.odds(0.1):
        discharge = ("home", "Home") if chance.odds(0.8) else ("exp", "Expired")
        made["hospitalization"] = {"dischargeDisposition": hl7("discharge-disposition", *discharge)}
    if voice.displays:
        made["location"] = [{"location": voice.house("Location")}]
    return made | {"serviceProvider": voice.house()}


def document(voice: Voice) -> Json:
    """A clinical note with its text."""
    made = voice.head("DocumentReference")
    made["identifier"] = [{"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{made['id']}"}]
    made |= {"status": voice.chance.one(["current", "superseded"])}
    kinds = [["34117-2", "History and physical note"], ["51847-2", "Evaluation + Plan note"]]
    if voice.chance.odds(0.4):
        kinds = [voice.chance.one(table("observations")["documents"])]
    made["type"] = {"coding": [coding(LOINC, *kind) for kind in kinds]}
    category = "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category"
    made["category"] = [concept(category, "clinical-note", "Clinical Note")]
    made |= {"subject": voice.subject(), "date": voice.time(millis=True), "author": [voice.doctor()]}
    made["custodian"] = voice.house()
    body = coding(
        "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem",
        "urn:ihe:iti:xds:2017:mimeTypeSufficient",
        "mimeType Sufficient",
    )
    made["content"] = [{"attachment": note(voice), "format": body}]
    return made | {"context": {"encounter": [voice.encounter()], "period": voice.period()}}


def provenance(voice: Voice) -> Json:
    """Who recorded what."""
    made = voice.head("Provenance")
    kinds = ["Observation", "Condition", "Encounter", "Claim", "Procedure"]
    many = voice.chance.randrange(1, 30)
    made["target"] = [voice.to(voice.chance.one(kinds), voice.chance.uuid()) for _ in range(many)]
    made["recorded"] = voice.time(millis=True)
    author = hl7("provenance-participant-type", "author", "Author") | {"text": "Author"}
    sender = concept(
        "http://hl7.org/fhir/us/core/CodeSystem/us-core-provenance-participant-type",
        "transmitter",
        "Transmitter",
        "Transmitter",
    )
    made["agent"] = [{"type": kind, "who": voice.doctor(), "onBehalfOf": voice.house()} for kind in (author, sender)]
    return made


def care_team(voice: Voice) -> Json:
    """Those who look after a patient."""
    made = voice.head("CareTeam") | {"status": "active", "subject": voice.subject(), "encounter": voice.encounter()}
    made["period"] = {"start": voice.time()}
    roles = [
        ["116154003", "Patient"],
        ["223366009", "Healthcare professional (occupation)"],
        ["224891009", "Healthcare services (qualifier value)"],
    ]
    members = [voice.subject(), voice.doctor(), voice.house()]
    made["participant"] = [
        {"role": [voice.said(SNOMED, role)], "member": member} for role, member in zip(roles, members, strict=True)
    ]
    return made | {"managingOrganization": [voice.house()]}


def device(voice: Voice) -> Json:
    """An implant with its unique identifier."""
    chance = voice.chance
    number, lot, serial = chance.digits(14), chance.digits(9), chance.digits(14)
    carrier = f"(01){number}(11){chance.digits(6)}(17){chance.digits(6)}(10){lot}(21){serial}"
    shown = chance.one(
        ["Implantable defibrillator, device (physical object)", "Cardiac pacemaker, device (physical object)"]
    )
    made = voice.head("Device") | {
        "udiCarrier": [{"deviceIdentifier": number, "carrierHRF": carrier}],
        "status": "active",
    }
    made |= {"distinctIdentifier": number, "manufactureDate": voice.time(), "expirationDate": voice.time(60 * 24 * 365)}
    made |= {"lotNumber": lot, "serialNumber": serial, "deviceName": [{"name": shown, "type": "user-friendly-name"}]}
    return made | {"type": voice.said(SNOMED, ["72506001", shown]), "patient": voice.subject()}


def imaging(voice: Voice) -> Json:
    """A study with its series and instances."""
    chance = voice.chance
    made = voice.head("ImagingStudy") | {
        "status": "available",
        "subject": voice.subject(),
        "encounter": voice.encounter(),
    }
    made |= {"started": voice.time(), "numberOfSeries": 1, "numberOfInstances": 1}
    code, shown = chance.one(
        [("DX", "Digital Radiography"), ("CT", "Computed Tomography"), ("MR", "Magnetic Resonance")]
    )
    site = chance.one([["51185008", "Thoracic structure (body structure)"], ["72696002", "Knee"], ["40983000", "Arm"]])
    sop = coding("urn:ietf:rfc:3986", "urn:oid:1.2.840.10008.5.1.4.1.1.1.1")
    picture = {
        "uid": f"1.2.840.99999999.1.1.{chance.digits(8)}",
        "sopClass": sop,
        "number": 1,
        "title": f"Image of {site[1]}",
    }
    series: Json = {
        "uid": f"1.2.840.99999999.1.{chance.digits(8)}",
        "number": 1,
        "modality": coding(DICOM, code, shown),
    }
    series |= {"numberOfInstances": 1, "availability": "ONLINE", "bodySite": coding(SNOMED, *site)}
    return made | {"series": [series | {"started": voice.time(), "instance": [picture]}]}


def service_request(voice: Voice) -> Json:
    """An order or a referral."""
    made = voice.head("ServiceRequest") | {"status": voice.chance.one(["active", "completed"]), "intent": "order"}
    made["category"] = [concept(SNOMED, "3457005", "Patient referral (procedure)")]
    made |= {"priority": voice.chance.one(["routine", "urgent"]), "code": voice.snomed("procedures")}
    made |= {"subject": voice.subject(), "encounter": voice.encounter(), "authoredOn": voice.time()}
    made |= {"requester": voice.doctor(), "performer": [voice.house()]}
    return made | {"reasonReference": [voice.to("Condition", voice.chance.uuid())]}


def task(voice: Voice) -> Json:
    """How far an order has got."""
    made = voice.head("Task") | {"basedOn": [voice.to("ServiceRequest", voice.chance.uuid())]}
    made |= {
        "status": voice.chance.one(["requested", "accepted", "rejected", "in-progress", "completed"]),
        "intent": "order",
    }
    made |= {"priority": "routine", "code": hl7("task-code", "fulfill", "Fulfill the focal request")}
    made |= {"focus": voice.to("ServiceRequest", voice.chance.uuid()), "for": voice.subject()}
    made |= {"authoredOn": voice.time(), "lastModified": voice.time(60)}
    return made | {"requester": voice.doctor(), "owner": voice.house()}


def episode(voice: Voice) -> Json:
    """A period of responsibility."""
    made = voice.head("EpisodeOfCare") | {"status": voice.chance.one(["active", "finished"])}
    kind = hl7("episodeofcare-type", "hacc", "Home and Community Care")
    made |= {"type": [kind], "diagnosis": [{"condition": voice.to("Condition", voice.chance.uuid()), "rank": 1}]}
    return made | {"patient": voice.subject(), "managingOrganization": voice.house(), "period": voice.period()}
