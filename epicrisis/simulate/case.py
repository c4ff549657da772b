"""A patient's case: who it is, which operator knows the person, and every message that was sent about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from epicrisis.simulate.chance import Chance
from epicrisis.simulate.fhir import SNOMED, Json, coding, concept, hl7
from epicrisis.simulate.letter import Letter, Message
from epicrisis.simulate.tables import table
from epicrisis.simulate.world import Country, Site, World, number


class Case:
    """One patient, from registration at the home site on. Ids are made of the patient's number: unique per operator."""

    def __init__(
        self, chance: Chance, world: World, number: int, home: Site, start: datetime, age: tuple[int, int]
    ) -> None:
        self.chance = chance
        self.world = world
        self.number = number
        self.home = home
        self.now = start
        self.messages: list[Message] = []
        self.patient_id = f"pat-{number:06d}"
        self.child = age[1] < 18
        self.dead = False
        self._ids: dict[str, int] = {}
        self._details = _person(chance, home, number, start, age)

    # Naming

    def id(self, kind: str) -> str:
        """The next id of this kind for this patient."""
        self._ids[kind] = self._ids.get(kind, 0) + 1
        return f"{kind}-{self.number:06d}-{self._ids[kind]}"

    def link(self, kind: str, ident: str, owner: Site, writer: Site) -> Json:
        """A reference to an earlier resource of ``owner``, as ``writer`` has to write it."""
        if owner.operator == writer.operator:
            return {"reference": f"{kind}/{ident}"}
        return {"reference": f"urn:epicrisis:{owner.operator}:{kind}/{ident}"}

    def subject(self, site: Site) -> Json:
        """A reference to the patient."""
        return self.link("Patient", self.patient_id, self.home, site)

    def doctor(self, site: Site) -> Json:
        """A reference to one of the site's clinicians, by id or by national number."""
        doctor = self.chance.one(site.doctors)
        name = f"{doctor.given} {doctor.family}"
        if self.chance.odds(0.3):
            where = f"{site.country.practitioner[0]}|{doctor.number}"
            return {"reference": f"Practitioner?identifier={where}", "display": name}
        return {"reference": f"Practitioner/{doctor.id}", "display": name}

    # Sending

    def wait(self, low: float, high: float) -> None:
        """Let so many hours pass."""
        self.now += timedelta(hours=low + (high - low) * self.chance.random())

    def letter(self, site: Site) -> Letter:
        """A new message of a site, now."""
        return Letter(self.chance, site, self.now.replace(microsecond=0))

    def send(self, letter: Letter, name: str, *, late: bool = False, kind: str = "transaction") -> None:
        """Send a message; a late one arrives days after what it tells of. One in forty is sent twice."""
        delay = timedelta(hours=self.chance.randrange(30, 400)) if late else timedelta(minutes=2)
        message = letter.message(f"{name}-{self.number:06d}", sent=letter.at + delay, kind=kind)
        self.messages.append(message)
        if self.chance.odds(0.025):
            again = message.sent + timedelta(hours=self.chance.randrange(120))
            self.messages.append(replace(message, sent=again))

    # The person

    def register(self, letter: Letter) -> None:
        """Put the Patient into a message of the home operator."""
        letter.put(self._details)

    def change(self, **details: Any) -> None:
        """Correct the person's details and send them."""
        self._details = self._details | details
        letter = self.letter(self.home)
        self.register(letter)
        self.send(letter, "patient")

    def move(self) -> None:
        """A new address and telephone number."""
        self.change(address=[_address(self.chance, self.home)], telecom=[_phone(self.chance, self.home.country)])

    def die(self) -> None:
        """The death, as the home operator records it."""
        self.dead = True
        when = self.letter(self.home).time()
        self.change(deceasedDateTime=when)

    def diagnosis(self, disease: Json, country: Country) -> Json:
        """A disease in a country's own code systems, with the words of its clinicians."""
        codes = [coding(system, disease[column], disease["name"]) for system, column in country.diagnosis]
        return {"coding": codes, "text": disease["text"].get(country.code, disease["name"])}


def _person(chance: Chance, home: Site, n: int, start: datetime, age: tuple[int, int]) -> Json:
    country = home.country
    names, gender = table("names")[country.code], chance.one(["female", "male"])
    born = start - timedelta(days=chance.randrange(age[0] * 365, age[1] * 365))
    record = f"https://{home.operator}.example.org/sid/patient"
    medical = {"type": hl7("v2-0203", "MR", "Medical record number"), "system": record, "value": f"{n:08d}"}
    made: Json = {"resourceType": "Patient", "id": f"pat-{n:06d}", "identifier": [medical]}
    if chance.odds(0.8):
        made["identifier"].append({"system": country.patient[0], "value": _national(country.patient[1], n)})
    name = {"use": "official", "family": chance.one(names["family"]), "given": [chance.one(names[gender])]}
    made |= {"active": True, "name": [name], "telecom": [_phone(chance, country)], "gender": gender}
    made |= {"birthDate": born.date().isoformat(), "address": [_address(chance, home)]}
    language = concept("urn:ietf:bcp:47", *country.language)
    made["communication"] = [{"language": language, "preferred": True}]
    return made | {"managingOrganization": home.reference}


def _national(pattern: str, n: int) -> str:
    """The n-th number of a pattern: no two are the same, and neighbours do not look alike."""
    count = pattern.count("#")
    digits = iter(f"{n * 7919 % 10**count:0{count}d}")  # 7919 and 10 have no common factor
    return "".join(next(digits) if c == "#" else c for c in pattern)


def _phone(chance: Chance, country: Country) -> Json:
    return {"system": "phone", "value": number(chance, country.phone), "use": chance.one(["home", "mobile"])}


def _address(chance: Chance, home: Site) -> Json:
    street = f"{chance.one(table('names')[home.country.code]['streets'])} {chance.randrange(1, 150)}"
    made = {"use": "home", "line": [street], "city": home.city, "postalCode": home.postal_code}
    return made | {"country": home.country.code.upper()}


def snomed(row: list[str]) -> Json:
    """A SNOMED CT concept of a row [code, display]."""
    return concept(SNOMED, row[0], row[1])
