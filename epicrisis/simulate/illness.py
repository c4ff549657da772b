"""A diagnosis from first suspicion to its outcome, as versions of one Condition."""

from __future__ import annotations

from dataclasses import dataclass

from epicrisis.simulate.case import Case
from epicrisis.simulate.fhir import LOINC, SNOMED, Json, concept, hl7
from epicrisis.simulate.letter import Letter
from epicrisis.simulate.tables import table
from epicrisis.simulate.world import Site

TNM = (
    ("21905-5", "Primary tumor.clinical [Class] Cancer"),
    ("21906-3", "Regional lymph nodes.clinical [Class] Cancer"),
    ("21907-1", "Distant metastases.clinical [Class] Cancer"),
)


@dataclass(slots=True)
class Illness:
    """A Condition and who keeps it."""

    id: str
    disease: Json
    site: Site
    onset: str
    condition: Json

    def link(self, case: Case, writer: Site) -> Json:
        """A reference to it, as a site has to write it."""
        return case.link("Condition", self.id, self.site, writer)


def suspect(case: Case, letter: Letter, disease: Json, contact: Json, verification: str = "provisional") -> Illness:
    """Write a diagnosis down for the first time."""
    made: Json = {"resourceType": "Condition", "id": case.id("cond")}
    made["clinicalStatus"] = hl7("condition-clinical", "active")
    made["verificationStatus"] = hl7("condition-ver-status", verification)
    made["category"] = [hl7("condition-category", "encounter-diagnosis", "Encounter Diagnosis")]
    made |= {"code": case.diagnosis(disease, letter.site.country), "subject": case.subject(letter.site)}
    made |= {"encounter": contact, "onsetDateTime": letter.date(), "recordedDate": letter.time()}
    letter.put(made)
    kept = {key: value for key, value in made.items() if key != "encounter"}  # its urn:uuid holds in that message only
    return Illness(made["id"], disease, letter.site, made["onsetDateTime"], kept)


def say(letter: Letter, illness: Illness, verification: str, clinical: str = "active", **more: object) -> Json:
    """Send another version: what is thought of it now."""
    made = dict(illness.condition)
    made["verificationStatus"] = hl7("condition-ver-status", verification)
    if verification == "entered-in-error":
        made.pop("clinicalStatus", None)  # FHIR's rule con-5
    else:
        made["clinicalStatus"] = hl7("condition-clinical", clinical)
    made |= {"recordedDate": letter.time()} | more
    illness.condition = made
    return letter.put(made)


def stage(case: Case, letter: Letter, illness: Illness, group: str) -> None:
    """The stage group in the Condition, or the TNM categories as Observations about it."""
    code, display, t, n, m = table("diseases")["stages"][group]
    summary = concept(SNOMED, code, display, f"Stage {group}")
    if case.chance.odds(0.5):
        kind = concept(LOINC, "21908-9", "Stage group.clinical Cancer")
        say(letter, illness, "confirmed", stage=[{"summary": summary, "type": kind}])
        return
    about = say(letter, illness, "confirmed")
    _staging(case, letter, about, ("21908-9", "Stage group.clinical Cancer"), summary)
    for what, value in zip(TNM, (t, n, m), strict=True):
        _staging(case, letter, about, what, {"text": f"c{value}"})


def _staging(case: Case, letter: Letter, about: Json, what: tuple[str, str], value: Json) -> None:
    made: Json = {"resourceType": "Observation", "status": "final"}
    made |= {"code": concept(LOINC, *what), "subject": case.subject(letter.site), "focus": [about]}
    letter.post(made | {"effectiveDateTime": letter.time(), "valueCodeableConcept": value})
