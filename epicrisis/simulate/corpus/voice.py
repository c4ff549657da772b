"""How a piece of software writes: its references, times, profiles and habits. One voice per simulated patient."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from epicrisis.simulate.chance import Chance
from epicrisis.simulate.fhir import SNOMED, Json, coding
from epicrisis.simulate.tables import table

PROFILES = ("", "us-core", "us-core", "isik", "ips", "kr")
STYLES = ("urn:uuid:{id}", "urn:uuid:{id}", "{type}/{id}", "{type}/{id}")


class Voice:
    """A patient's record system: where its resources refer to each other, it is in one style."""

    def __init__(self, chance: Chance) -> None:
        self.chance = chance
        self.style = chance.one(STYLES)
        self.profile = chance.one(PROFILES)
        self.texts = chance.odds(0.7)
        self.displays = chance.odds(0.3)
        self.millis = chance.odds(0.5)
        self.zone = chance.one(["+00:00", "+00:00", "-05:00", "-04:00", "+02:00", "+09:00", "Z", "Z"])
        self.tag = chance.one(table("shapes")["tags"]) if chance.odds(0.3) else None
        self.tags_last = chance.odds(0.7)
        self.patient_id = chance.uuid()
        self.person = name(chance)
        self.npi = chance.odds(0.5)
        self.now = chance.moment(datetime(1985, 1, 1, tzinfo=UTC), 365 * 39)
        self.encounter_id = chance.uuid()

    def visit(self) -> None:
        """Go on to the next encounter."""
        self.encounter_id = self.chance.uuid()
        self.now = self.chance.moment(self.now, 120)

    def to(self, kind: str, ident: str, display: str = "") -> Json:
        """A reference to a resource of the record."""
        made: Json = {"reference": self.style.format(type=kind, id=ident)}
        if display and self.displays:
            made["display"] = display
        return made

    def subject(self) -> Json:
        """A reference to the patient."""
        return self.to("Patient", self.patient_id)

    def encounter(self) -> Json:
        """A reference to the current encounter."""
        return self.to("Encounter", self.encounter_id)

    def doctor(self) -> Json:
        """A reference to a practitioner, by id or by national identifier."""
        if self.npi:
            system = self.chance.one(["http://hl7.org/fhir/sid/us-npi", "http://fhir.de/sid/bundesaerztekammer/efn"])
            value = f"Practitioner?identifier={system}|{self.chance.digits(10)}"
            return {"reference": value, "display": "Dr. " + " ".join(name(self.chance))}
        return self.to("Practitioner", self.chance.uuid(), "Dr. " + " ".join(name(self.chance)))

    def house(self, kind: str = "Organization") -> Json:
        """A reference to an organisation or a location."""
        return self.to(kind, self.chance.uuid(), house(self.chance))

    def time(self, minutes: int = 0, *, millis: bool = False) -> str:
        """The current encounter's time, so many minutes later, in this software's form."""
        moment = self.now + timedelta(minutes=minutes)
        if self.zone == "Z":
            text = moment.isoformat(timespec="milliseconds" if millis else "seconds").replace("+00:00", "")
            return text + "Z"
        sign = -1 if self.zone[0] == "-" else 1
        offset = timezone(sign * timedelta(hours=int(self.zone[1:3])))
        return moment.astimezone(offset).isoformat(timespec="milliseconds" if millis else "seconds")

    def date(self) -> str:
        """The current encounter's day."""
        return self.now.date().isoformat()

    def period(self, minutes: int = 15) -> Json:
        """A period from the current encounter's start."""
        return {"start": self.time(), "end": self.time(minutes)}

    def head(self, kind: str, ident: str = "") -> Json:
        """The first elements of a resource: type, id, sometimes meta."""
        made: Json = {"resourceType": kind, "id": ident or self.chance.uuid()}
        meta: Json = {}
        if self.chance.odds(0.12):
            meta["versionId"] = "1"
            meta["lastUpdated"] = self.time(millis=True)
        profiles = table("shapes")["profiles"]
        if found := profiles.get(self.profile, {}).get(kind):
            meta["profile"] = [self.chance.one(found)]
        if self.tag and not self.tags_last:
            meta["tag"] = [coding(*self.tag)]
        if meta:
            made["meta"] = meta
        return made

    def foot(self, made: Json) -> Json:
        """The resource as this software finishes it: some write the meta last."""
        if self.tag and self.tags_last and "meta" not in made:
            made["meta"] = {"tag": [coding(*self.tag)]}
        return made

    def said(self, system: str, row: list[Any]) -> Json:
        """A CodeableConcept of a row [code, display, ...], with its text where this software writes it."""
        made: Json = {"coding": [coding(system, row[0], row[1])]}
        if self.texts:
            made["text"] = row[1]
        return made

    def snomed(self, name: str) -> Json:
        """A concept of one of the SNOMED CT tables."""
        return self.said(SNOMED, self.chance.one(table("concepts")[name]))


def name(chance: Chance) -> tuple[str, str]:
    """A given and a family name."""
    shapes = table("shapes")
    return chance.one(shapes["given"]), chance.one(shapes["family"])


def house(chance: Chance) -> str:
    """The name of a hospital."""
    shapes = table("shapes")
    made = f"{chance.one(shapes['places'])} {chance.one(shapes['houses'])}"
    return made.upper() if chance.odds(0.5) else made
