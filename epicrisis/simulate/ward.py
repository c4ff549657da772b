"""A stay in an oncology clinic: planned, bed reserved, in, moved, treated in stages, out."""

from __future__ import annotations

from dataclasses import dataclass, field

from epicrisis.simulate.case import Case, snomed
from epicrisis.simulate.fhir import SNOMED, TERMINOLOGY, Json, coding, concept, hl7
from epicrisis.simulate.illness import Illness
from epicrisis.simulate.letter import Letter
from epicrisis.simulate.referrals import Referral
from epicrisis.simulate.tables import table
from epicrisis.simulate.world import Site


@dataclass(slots=True)
class Stay:
    """The Encounter of a stay and the episode it belongs to."""

    id: str
    episode_id: str
    site: Site
    base: Json
    bed: str
    places: list[Json] = field(default_factory=list)
    start: str = ""


def plan(case: Case, letter: Letter, referral: Referral, illness: Illness) -> Stay:
    """Ask for a bed: the episode of care and the planned Encounter."""
    site = letter.site
    rests_on, about = referral.link(case, site), illness.link(case, site)
    kind = concept(SNOMED, *site.specialties[0])
    episode: Json = {"resourceType": "EpisodeOfCare", "id": case.id("eoc"), "status": "active", "type": [kind]}
    episode |= {"diagnosis": [{"condition": about}], "patient": case.subject(site)}
    episode |= {
        "managingOrganization": site.reference,
        "period": {"start": letter.time()},
        "referralRequest": [rests_on],
    }
    letter.put(episode)
    base: Json = {"class": coding(TERMINOLOGY + "v3-ActCode", "IMP", "inpatient encounter"), "serviceType": kind}
    base |= {"subject": case.subject(site), "episodeOfCare": [{"reference": f"EpisodeOfCare/{episode['id']}"}]}
    base |= {"basedOn": [rests_on], "diagnosis": [{"condition": about}]}
    base |= {"hospitalization": {"origin": referral.sender.reference}, "serviceProvider": site.reference}
    stay = Stay(case.id("stay"), episode["id"], site, base, case.chance.one(site.beds))
    _put(letter, stay, "planned")
    return stay


def _put(letter: Letter, stay: Stay, status: str, **more: object) -> None:
    made: Json = {"resourceType": "Encounter", "id": stay.id, "meta": {"lastUpdated": letter.time()}, "status": status}
    letter.put(made | stay.base | ({"location": stay.places} if stay.places else {}) | more)


def reserve(letter: Letter, stay: Stay) -> None:
    """A bed waits."""
    stay.places = [{"location": {"reference": f"Location/{stay.bed}"}, "status": "reserved"}]
    _put(letter, stay, "planned")


def admit(letter: Letter, stay: Stay) -> None:
    """The patient is in."""
    stay.start = letter.time()
    place: Json = {"location": {"reference": f"Location/{stay.bed}"}, "status": "active"}
    stay.places = [place | {"period": {"start": stay.start}}]
    _put(letter, stay, "in-progress", period={"start": stay.start})


def move(case: Case, letter: Letter, stay: Stay) -> None:
    """To another bed."""
    old = stay.places[-1]
    left = old | {"status": "completed", "period": old["period"] | {"end": letter.time()}}
    stay.bed = case.chance.one([bed for bed in stay.site.beds if bed != stay.bed])
    place: Json = {"location": {"reference": f"Location/{stay.bed}"}, "status": "active"}
    stay.places = [*stay.places[:-1], left, place | {"period": {"start": letter.time()}}]
    _put(letter, stay, "in-progress", period={"start": stay.start})


def cancel(letter: Letter, stay: Stay) -> None:
    """The stay will not take place."""
    stay.places = []
    _put(letter, stay, "cancelled")


def discharge(case: Case, letter: Letter, stay: Stay, illness: Illness, *, dead: bool = False) -> None:
    """The patient leaves; the episode ends."""
    old = stay.places[-1]
    stay.places = [*stay.places[:-1], old | {"status": "completed", "period": old["period"] | {"end": letter.time()}}]
    where = ("exp", "Expired") if dead else case.chance.one([("home", "Home"), ("rehab", "Rehabilitation")])
    left = stay.base["hospitalization"] | {"dischargeDisposition": hl7("discharge-disposition", *where)}
    _put(letter, stay, "finished", period={"start": stay.start, "end": letter.time()}, hospitalization=left)
    episode: Json = {"resourceType": "EpisodeOfCare", "id": stay.episode_id, "status": "finished"}
    episode |= {"type": [stay.base["serviceType"]], "diagnosis": [{"condition": illness.link(case, stay.site)}]}
    episode |= {"patient": case.subject(stay.site), "managingOrganization": stay.site.reference}
    letter.put(
        episode | {"period": {"start": stay.start, "end": letter.time()}, "referralRequest": stay.base["basedOn"]}
    )


def treat(case: Case, letter: Letter, stay: Stay, kind: str, task_id: str, status: str, start: str) -> None:
    """A version of the Task of a stage of treatment: in-progress, completed or failed."""
    made: Json = {"resourceType": "Task", "id": task_id, "status": status, "intent": "order"}
    made |= {"code": snomed(table("diseases")["treatment"][kind])}
    made |= {"focus": case.link("Encounter", stay.id, stay.site, letter.site), "for": case.subject(letter.site)}
    period = {"start": start} if status == "in-progress" else {"start": start, "end": letter.time()}
    made |= {"executionPeriod": period, "lastModified": letter.time(), "owner": letter.site.reference}
    letter.put(made)
