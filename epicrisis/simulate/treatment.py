"""From the referral to an oncology centre to the discharge from it."""

from __future__ import annotations

from epicrisis.simulate import referrals, visits
from epicrisis.simulate.case import Case
from epicrisis.simulate.illness import Illness
from epicrisis.simulate.referrals import Referral
from epicrisis.simulate.ward import Stay, admit, cancel, discharge, move, plan, reserve, treat
from epicrisis.simulate.world import Site

__all__ = ["Stay", "find_a_bed", "stay", "treat"]


def find_a_bed(case: Case, illness: Illness, *, urgent: bool) -> Referral | None:
    """Refer to one centre after the other until one accepts; None where the patient is not referred after all."""
    chance = case.chance
    centres = _centres(case)
    for attempt, centre in enumerate(centres):
        letter = case.letter(case.home)
        priority = "urgent" if urgent else "routine"
        referral = referrals.refer(case, letter, centre, "Oncological treatment", illness, priority)
        case.send(letter, "referral")
        case.wait(*((1, 6) if urgent else (4, 90)))
        if not urgent and chance.odds(0.06):
            letter = case.letter(case.home)
            referrals.withdraw(letter, referral)
            case.send(letter, "referral-withdrawn")
            return None
        letter = case.letter(centre)
        last = attempt == len(centres) - 1
        if not last and not urgent and chance.odds(0.2):
            referrals.progress(case, letter, referral, "rejected")
            case.send(letter, "referral-declined")
            case.wait(2, 48)
            continue
        referrals.progress(case, letter, referral, "accepted")
        case.send(letter, "referral-accepted")
        return referral
    return None


def _centres(case: Case) -> list[Site]:
    """Where to ask: for children their own centre; else first those of the country."""
    if case.child:
        return case.world.of("paediatric_oncology")
    centres = case.world.of("oncology")
    case.chance.shuffle(centres)
    if case.chance.odds(0.8):
        centres.sort(key=lambda site: site.country.code != case.home.country.code)
    return centres[:2]


def stay(case: Case, referral: Referral, illness: Illness, *, fast: bool) -> Stay | None:
    """Scheduled, planned, admitted, treated in stages, discharged; None where it does not come to that."""
    chance, centre = case.chance, referral.receiver
    case.wait(*((0.5, 3) if fast else (5, 72)))
    letter = case.letter(centre)
    referrals.progress(case, letter, referral, "ready", executionPeriod={"start": letter.time(60 * 24)})
    made = plan(case, letter, referral, illness)
    case.send(letter, "transfer")
    case.wait(*((0.2, 2) if fast else (2, 48)))
    letter = case.letter(centre)
    reserve(letter, made)
    case.send(letter, "bed")
    case.wait(*((1, 8) if fast else (24, 300)))
    if not fast and chance.odds(0.05):
        letter = case.letter(centre)
        cancel(letter, made)
        case.send(letter, "transfer-cancelled")
        return None
    letter = case.letter(centre)
    admit(letter, made)
    contact = {"reference": f"Encounter/{made.id}"}
    visits.vitals(case, letter, contact, 3)
    visits.laboratory(case, letter, contact, "58410-2")
    case.send(letter, "admission")
    kinds = [kind for kind in ("surgery", "chemotherapy", "radiotherapy") if chance.odds(0.6)] or ["chemotherapy"]
    for kind in kinds:
        _stage(case, made, kind)
    referrals_done = case.letter(centre)
    dead = chance.odds(0.04)
    discharge(case, referrals_done, made, illness, dead=dead)
    visits.document(case, referrals_done, "18842-5")
    referrals.progress(case, referrals_done, referral, "completed")
    case.send(referrals_done, "discharge")
    if dead:
        case.wait(2, 20)
        case.die()
    return made


def _stage(case: Case, made: Stay, kind: str) -> None:
    """A stage of treatment, and perhaps another ward after it."""
    chance, centre = case.chance, made.site
    case.wait(3, 40)
    letter = case.letter(centre)
    task, start = case.id("stage"), letter.time()
    treat(case, letter, made, kind, task, "in-progress", start)
    case.send(letter, kind)
    case.wait(4, 200)
    letter = case.letter(centre)
    treat(case, letter, made, kind, task, "completed" if chance.odds(0.93) else "failed", start)
    if chance.odds(0.5):
        visits.laboratory(case, letter, {"reference": f"Encounter/{made.id}"}, "51990-0")
    case.send(letter, f"{kind}-end")
    if chance.odds(0.4):
        case.wait(1, 24)
        letter = case.letter(centre)
        move(case, letter, made)
        case.send(letter, "moved")
    case.wait(2, 48)
