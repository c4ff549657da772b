"""The ways patients go through the cluster."""

from __future__ import annotations

from epicrisis.simulate import referrals, treatment, visits
from epicrisis.simulate.case import Case
from epicrisis.simulate.illness import Illness, say, stage, suspect
from epicrisis.simulate.tables import table
from epicrisis.simulate.world import Site

CHECK_UP = ["185349003", "Encounter for check up (procedure)"]
SYMPTOM = ["185345009", "Encounter for symptom (procedure)"]
PROBLEM = ["185347001", "Encounter for problem (procedure)"]
PHYSIOTHERAPY = ["91251008", "Physical therapy procedure (procedure)"]


def check_up(case: Case, *, register: bool = True) -> None:
    """A visit without a finding, or with one of the common ones; now and then something is corrected later."""
    chance = case.chance
    letter = case.letter(case.home)
    if register:
        case.register(letter)
    contact = visits.encounter(case, letter, CHECK_UP)
    visits.vitals(case, letter, contact)
    if chance.odds(0.75):
        visits.laboratory(case, letter, contact)
    if chance.odds(0.3):
        visits.immunization(case, letter, contact)
    if chance.odds(0.3):
        visits.bill(case, letter, contact)
    wrong = visits.allergy(case, letter) if chance.odds(0.15) else None
    if chance.odds(0.35):
        disease = chance.one(table("diseases")["common"])
        illness = suspect(case, letter, disease, contact, "confirmed")
        about = illness.link(case, case.home)
        visits.prescription(case, letter, contact, disease["medication"], about)
        visits.care_plan(case, letter, ["734163000", "Care plan (record artifact)"], about)
    other = not register and chance.odds(0.1)
    case.send(letter, "check-up", kind=chance.one(["batch", "collection"]) if other else "transaction")
    if wrong and chance.odds(0.4):
        case.wait(1, 200)
        letter = case.letter(case.home)
        visits.mistaken(letter, wrong)
        case.send(letter, "mistaken-allergy")
    if chance.odds(0.15):
        _late_result(case)
    if chance.odds(0.12):
        case.wait(24, 900)
        case.move()


def _late_result(case: Case) -> None:
    """A laboratory sends days after it measured; some values are corrected, a few were mistakes."""
    chance = case.chance
    letter, code = case.letter(case.home), chance.one(["4548-4", "3016-3", "2276-4"])
    result = visits.observation(case, letter, code, "laboratory", None) | {"id": case.id("lab")}
    letter.put(result)
    case.send(letter, "late-result", late=True)
    if chance.odds(0.5):
        case.wait(24 * 20, 24 * 30)
        letter = case.letter(case.home)
        value = visits.observation(case, letter, code, "laboratory", None)["valueQuantity"]
        status = chance.one(["corrected", "corrected", "entered-in-error"])
        letter.put(result | {"status": status, "valueQuantity": value})
        case.send(letter, "corrected-result")


def acute(case: Case) -> None:
    """An infection that passes."""
    disease = case.chance.one(table("diseases")["acute"])
    letter = case.letter(case.home)
    contact = visits.encounter(case, letter, SYMPTOM)
    visits.vitals(case, letter, contact, 3)
    illness = suspect(case, letter, disease, contact, "confirmed")
    visits.prescription(case, letter, contact, disease["medication"], illness.link(case, case.home))
    case.send(letter, "acute")
    case.wait(100, 300)
    letter = case.letter(case.home)
    say(letter, illness, "confirmed", "resolved", abatementDateTime=letter.date())
    case.send(letter, "resolved")


def injury(case: Case) -> None:
    """An injury, and rehabilitation at another operator's clinic."""
    letter = case.letter(case.home)
    case.register(letter)
    contact = visits.encounter(case, letter, PROBLEM)
    visits.vitals(case, letter, contact, 3)
    disease = case.chance.one(table("diseases")["injury"])
    illness = suspect(case, letter, disease, contact, "confirmed")
    visits.procedure(case, letter, ["16310003", "Ultrasonography (procedure)"], contact)
    visits.prescription(case, letter, contact, disease["medication"])
    case.send(letter, "injury")
    rehabilitate(case, case.home, illness, None)
    letter = case.letter(case.home)
    say(letter, illness, "confirmed", "resolved", abatementDateTime=letter.date())
    case.send(letter, "resolved")


def suspicion(case: Case, diseases: str) -> tuple[Illness, bool]:
    """Something is suspected and examined; returns it, and whether this goes fast."""
    chance = case.chance
    disease = chance.one(table("diseases")[diseases])
    fast = bool(disease.get("rare")) or chance.odds(0.15)
    letter = case.letter(case.home)
    contact = visits.encounter(case, letter, SYMPTOM)
    visits.vitals(case, letter, contact, 4)
    illness = suspect(case, letter, disease, contact)
    case.send(letter, "suspicion")
    case.wait(*((4, 16) if fast else (48, 500)))
    letter = case.letter(case.home)
    contact = visits.encounter(case, letter, PROBLEM)
    visits.laboratory(case, letter, contact, "58410-2")
    letter.post(visits.observation(case, letter, disease["marker"], "laboratory", contact))
    visits.procedure(case, letter, disease["biopsy"], contact)
    visits.document(case, letter, "11526-1")
    case.send(letter, "examination", late=not fast and chance.odds(0.08))
    case.wait(*((2, 20) if fast else (24, 240)))
    return illness, fast


def false_alarm(case: Case, diseases: str) -> None:
    """The suspicion is ruled out, or was written into the wrong record."""
    illness, _ = suspicion(case, diseases)
    letter = case.letter(case.home)
    if case.chance.odds(0.8):
        say(letter, illness, "refuted", "inactive")
    elif case.chance.odds(0.5):
        say(letter, illness, "entered-in-error")
    else:
        letter.delete("Condition", illness.id)
    case.send(letter, "ruled-out")


def cancer(case: Case, diseases: str) -> None:
    """Cancer: confirmed, staged, referred, treated as an inpatient, rehabilitated."""
    chance = case.chance
    illness, fast = suspicion(case, diseases)
    letter = case.letter(case.home)
    if chance.odds(0.8):
        stage(case, letter, illness, chance.one(["I", "II", "III", "IV"]))
    else:
        say(letter, illness, "confirmed")
    case.send(letter, "diagnosis")
    if chance.odds(0.4) and not fast:
        case.wait(5, 48)
        second_opinion(case, illness)
    case.wait(*((0.5, 4) if fast else (24, 400)))
    referral = treatment.find_a_bed(case, illness, urgent=fast)
    if referral is None:
        return
    treated = treatment.stay(case, referral, illness, fast=fast)
    if treated is None or case.dead:
        return
    if chance.odds(0.6):
        rehabilitate(case, treated.site, illness, treated)
    case.wait(24 * 20, 24 * 60)
    letter = case.letter(case.home)
    if chance.odds(0.12):
        case.die()
    elif chance.odds(0.6):
        say(letter, illness, "confirmed", "remission", abatementDateTime=letter.date())
        case.send(letter, "remission")


def second_opinion(case: Case, illness: Illness) -> None:
    """Ask a telemedicine clinic what it thinks."""
    chance = case.chance
    letter = case.letter(case.home)
    receiver = chance.one(case.world.of("telemedicine"))
    referral = referrals.refer(case, letter, receiver, "Second opinion", illness)
    case.send(letter, "second-opinion")
    case.wait(3, 60)
    letter = case.letter(receiver)
    if chance.odds(0.15):
        referrals.progress(case, letter, referral, "rejected")
        case.send(letter, "second-opinion-declined")
        return
    referrals.progress(case, letter, referral, "accepted")
    case.send(letter, "second-opinion-accepted")
    case.wait(10, 70)
    letter = case.letter(receiver)
    visits.encounter(case, letter, ["448337001", "Telemedicine consultation with patient (procedure)"], virtual=True)
    visits.document(case, letter, "11488-4")
    report = {"resourceType": "DiagnosticReport", "basedOn": [referral.link(case, receiver)], "status": "final"}
    letter.post(
        report
        | {"code": {"text": "Second opinion"}, "subject": case.subject(receiver), "issued": letter.time()}
        | {"conclusion": chance.one(["The diagnosis is confirmed.", "Another biopsy is recommended."])}
    )
    referrals.progress(case, letter, referral, "completed")
    case.send(letter, "second-opinion-given")


def rehabilitate(case: Case, sender: Site, illness: Illness, treated: treatment.Stay | None) -> None:
    """Rehabilitation at another operator's clinic; after a stay it is one of the stages of treatment."""
    chance = case.chance
    case.wait(24, 200)
    receiver = chance.one(case.world.of("rehabilitation"))
    letter = case.letter(sender)
    referral = referrals.refer(case, letter, receiver, "Rehabilitation", illness)
    case.send(letter, "rehabilitation-request")
    case.wait(5, 100)
    letter = case.letter(receiver)
    if chance.odds(0.1):
        referrals.progress(case, letter, referral, "rejected")
        case.send(letter, "rehabilitation-declined")
        return
    referrals.progress(case, letter, referral, "accepted")
    case.send(letter, "rehabilitation-accepted")
    case.wait(24, 200)
    letter = case.letter(receiver)
    task, start = case.id("stage"), letter.time()
    visits.vitals(case, letter, visits.encounter(case, letter, PHYSIOTHERAPY), 2)
    visits.care_plan(case, letter, PHYSIOTHERAPY)
    if treated:
        treatment.treat(case, letter, treated, "rehabilitation", task, "in-progress", start)
    case.send(letter, "rehabilitation-start")
    case.wait(24 * 10, 24 * 30)
    letter = case.letter(receiver)
    visits.document(case, letter, "18842-5")
    if treated:
        treatment.treat(case, letter, treated, "rehabilitation", task, "completed", start)
    referrals.progress(case, letter, referral, "completed")
    case.send(letter, "rehabilitation-end")
