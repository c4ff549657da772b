"""The simulated cluster as it stands: countries, operators, sites, their staff and their beds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any

from epicrisis.simulate.chance import Chance
from epicrisis.simulate.fhir import Json
from epicrisis.simulate.tables import table

INPATIENT = ("oncology", "paediatric_oncology")
WARDS = ("A", "B")
BEDS = 4  # per ward


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """What a country's clinics write with."""

    code: str
    name: str
    language: tuple[str, str]
    zone: timezone
    diagnosis: tuple[tuple[str, str], ...]
    patient: tuple[str, str]
    practitioner: tuple[str, str]
    currency: str
    phone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """A clinician of a site. ``number`` is the national one, under the country's system."""

    id: str
    family: str
    given: str
    gender: str
    number: str
    languages: tuple[tuple[str, str], ...]
    specialty: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A clinic: a site of an operator."""

    operator: str
    site: str
    kind: str
    name: str
    operator_name: str
    city: str
    postal_code: str
    country: Country
    specialties: tuple[tuple[str, str], ...]
    doctors: tuple[Doctor, ...]

    @property
    def clinic(self) -> str:
        """The clinic's id in the cluster."""
        return f"{self.operator}/{self.site}"

    @property
    def reference(self) -> Json:
        """The logical reference by which everybody names this clinic."""
        return {"identifier": {"system": "urn:epicrisis:clinic", "value": self.clinic}, "display": self.name}

    @property
    def beds(self) -> list[str]:
        """The ids of the beds of an inpatient site."""
        return [f"bed-{self.site}-{ward}{n + 1}" for ward in WARDS for n in range(BEDS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All sites."""

    sites: tuple[Site, ...]

    def of(self, *kinds: str) -> list[Site]:
        """The sites of these kinds."""
        return [site for site in self.sites if site.kind in kinds]


def number(chance: Chance, pattern: str) -> str:
    """A number by a pattern in which # is a digit."""
    return "".join(chance.digits(1) if c == "#" else c for c in pattern)


def world(seed: int) -> World:
    """The cluster for a seed: the operators are always the same, their staff varies."""
    data, chance = table("operators"), Chance(f"{seed}/world")
    countries = {code: _country(code, row) for code, row in data["countries"].items()}
    sites: list[Site] = []
    for operator in data["operators"]:
        country = countries[operator["country"]]
        offered = tuple((code, display) for code, display in data["specialties"][operator["kind"]])
        for site, name, city, postal_code in operator["sites"]:
            doctors = tuple(_doctor(chance, country, f"dr-{site}-{n + 1}", offered) for n in range(4))
            sites.append(
                Site(
                    operator=operator["id"],
                    site=site,
                    kind=operator["kind"],
                    name=name,
                    operator_name=operator["name"],
                    city=city,
                    postal_code=postal_code,
                    country=country,
                    specialties=offered,
                    doctors=doctors,
                )
            )
    return World(sites=tuple(sites))


def _country(code: str, row: dict[str, Any]) -> Country:
    return Country(
        code=code,
        name=row["name"],
        language=(row["language"][0], row["language"][1]),
        zone=timezone(timedelta(hours=row["offset"])),
        diagnosis=tuple((system, column) for system, column in row["diagnosis"]),
        patient=(row["patient"][0], row["patient"][1]),
        practitioner=(row["practitioner"][0], row["practitioner"][1]),
        currency=row["currency"],
        phone=row["phone"],
    )


def _doctor(chance: Chance, country: Country, ident: str, offered: tuple[tuple[str, str], ...]) -> Doctor:
    names, gender = table("names")[country.code], chance.one(["female", "male"])
    own = [country.language]
    for code, name in table("operators")["languages"]["others"]:
        if code != country.language[0][:2] and chance.odds(0.6 if code == "en" else 0.12):
            own.append((code, name))
    return Doctor(
        id=ident,
        family=chance.one(names["family"]),
        given=chance.one(names[gender]),
        gender=gender,
        number=number(chance, country.practitioner[1]),
        languages=tuple(own),
        specialty=chance.one(offered),
    )
