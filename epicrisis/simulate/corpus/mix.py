"""The mix: how often which type occurs, and which dictionary it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from epicrisis.simulate.chance import Chance
from epicrisis.simulate.corpus import clinical, money, papers, people, treatment
from epicrisis.simulate.corpus.voice import Voice
from epicrisis.simulate.fhir import Json, dumps

# type -> (builder, how many of it there are in a record for each visit)
SHAPES: Mapping[str, tuple[Callable[[Voice], Json], float]] = {
    "Observation": (clinical.observation, 6.0),
    "DiagnosticReport": (clinical.diagnostic_report, 0.8),
    "Condition": (clinical.condition, 0.6),
    "Procedure": (treatment.procedure, 0.9),
    "Immunization": (treatment.immunization, 0.6),
    "MedicationRequest": (treatment.medication_request, 0.6),
    "AllergyIntolerance": (treatment.allergy, 0.1),
    "CarePlan": (treatment.care_plan, 0.2),
    "Goal": (treatment.goal, 0.1),
    "Encounter": (papers.encounter, 1.0),
    "DocumentReference": (papers.document, 0.3),
    "Provenance": (papers.provenance, 0.05),
    "CareTeam": (papers.care_team, 0.1),
    "Device": (papers.device, 0.05),
    "ImagingStudy": (papers.imaging, 0.1),
    "ServiceRequest": (papers.service_request, 0.2),
    "Task": (papers.task, 0.2),
    "EpisodeOfCare": (papers.episode, 0.1),
    "Claim": (money.claim, 0.8),
    "ExplanationOfBenefit": (money.benefit, 0.8),
    "Coverage": (money.coverage, 0.1),
    "Patient": (people.patient, 0.15),
    "Practitioner": (people.practitioner, 0.15),
    "PractitionerRole": (people.practitioner_role, 0.15),
    "Organization": (people.organization, 0.15),
    "Location": (people.location, 0.15),
}

# dictionary family -> resource types; every other type is in "general"
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "observation": ("Observation",),
    "report": ("DiagnosticReport", "DocumentReference", "Composition", "Binary", "Media"),
    "money": ("Claim", "ExplanationOfBenefit", "Coverage", "ClaimResponse", "Account", "Invoice"),
    "people": ("Patient", "Practitioner", "PractitionerRole", "Organization", "Location", "RelatedPerson", "Person"),
    "general": (),
}


def family(kind: str) -> str:
    """The dictionary family of a resource type."""
    return next((name for name, kinds in FAMILIES.items() if kind in kinds), "general")


def resources(visits: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Resource type and compact JSON, for so many visits of patients who stay for about twenty."""
    chance = Chance(seed)
    voice = Voice(chance)
    for _ in range(visits):
        if chance.odds(0.05):
            voice = Voice(chance)
        voice.visit()
        for kind, (build, often) in SHAPES.items():
            count = int(often) + chance.odds(often % 1)
            for _ in range(count):
                yield kind, dumps(voice.foot(build(voice)))
