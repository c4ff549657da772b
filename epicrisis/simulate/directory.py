"""What each site says about itself before its first patient: organisation, places, staff, services."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from epicrisis.simulate.chance import Chance
from epicrisis.simulate.fhir import SNOMED, Json, concept, hl7
from epicrisis.simulate.letter import Letter, Message
from epicrisis.simulate.world import INPATIENT, WARDS, Doctor, Site, World, number


def directory(world: World, seed: int, at: datetime) -> Iterator[Message]:
    """One message for each site."""
    chance = Chance(f"{seed}/directory")
    for site in world.sites:
        letter = Letter(chance, site, at)
        own = letter.put(_organization(chance, site))
        for place in _places(site, own):
            letter.put(place)
        for doctor in site.doctors:
            who = letter.put(_practitioner(site, doctor))
            letter.put(_role(site, doctor, who, own))
        for n, specialty in enumerate(site.specialties):
            letter.put(_service(site, n, specialty, own))
        yield letter.message(f"directory-{site.operator}-{site.site}")


def _organization(chance: Chance, site: Site) -> Json:
    made: Json = {"resourceType": "Organization", "id": f"org-{site.site}"}
    made["identifier"] = [{"system": "urn:epicrisis:clinic", "value": site.clinic}]
    made |= {"active": True, "type": [hl7("organization-type", "prov", "Healthcare Provider")], "name": site.name}
    made["telecom"] = [{"system": "phone", "value": number(chance, site.country.phone), "use": "work"}]
    made["address"] = [{"city": site.city, "postalCode": site.postal_code, "country": site.country.code.upper()}]
    if site.name != site.operator_name:
        made["partOf"] = {"display": site.operator_name}
    return made


def _places(site: Site, own: Json) -> Iterator[Json]:
    def place(ident: str, name: str, code: str, display: str) -> Json:
        made: Json = {"resourceType": "Location", "id": ident, "status": "active", "name": name, "mode": "instance"}
        kind = hl7("location-physical-type", code, display)
        return made | {"physicalType": kind, "managingOrganization": own}

    yield place(f"house-{site.site}", site.name, "bu", "Building")
    if site.kind not in INPATIENT:
        return
    for ward in WARDS:
        yield place(f"ward-{site.site}-{ward}", f"{site.name} {ward}", "wa", "Ward")
    for bed in site.beds:
        ward, label = bed[-2], bed[-2:]
        part = {"partOf": {"reference": f"Location/ward-{site.site}-{ward}"}}
        yield place(bed, label, "bd", "Bed") | part


def _practitioner(site: Site, doctor: Doctor) -> Json:
    made: Json = {"resourceType": "Practitioner", "id": doctor.id}
    made["identifier"] = [{"system": site.country.practitioner[0], "value": doctor.number}]
    made |= {"active": True, "name": [{"use": "official", "family": doctor.family, "given": [doctor.given]}]}
    made["gender"] = doctor.gender
    return made | {"communication": [concept("urn:ietf:bcp:47", code, name) for code, name in doctor.languages]}


def _role(site: Site, doctor: Doctor, who: Json, own: Json) -> Json:
    made: Json = {"resourceType": "PractitionerRole", "id": f"role-{doctor.id}", "active": True}
    made |= {"practitioner": who, "organization": own}
    made["code"] = [hl7("practitioner-role", "doctor", "Doctor")]
    return made | {"specialty": [concept(SNOMED, *doctor.specialty)]}


def _service(site: Site, n: int, specialty: tuple[str, str], own: Json) -> Json:
    made: Json = {"resourceType": "HealthcareService", "id": f"service-{site.site}-{n + 1}", "active": True}
    made |= {"providedBy": own, "specialty": [concept(SNOMED, *specialty)], "name": f"{site.name}: {specialty[1]}"}
    spoken = dict(language for doctor in site.doctors for language in doctor.languages)
    return made | {"communication": [concept("urn:ietf:bcp:47", code, name) for code, name in spoken.items()]}
