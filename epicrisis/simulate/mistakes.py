"""Deliberate mistakes, each of which the cluster has to refuse: only sent where somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from epicrisis.simulate import referrals, visits
from epicrisis.simulate.case import Case
from epicrisis.simulate.fhir import LOINC, Json, concept, hl7
from epicrisis.simulate.illness import say, suspect
from epicrisis.simulate.letter import Letter, Message
from epicrisis.simulate.pathways import CHECK_UP
from epicrisis.simulate.tables import table

Mistake = Callable[[Case], Letter]


def mistake(case: Case) -> Message:
    """One mistake about a patient who is registered already, an hour after the latest message."""
    case.now = max(message.sent for message in case.messages)
    case.wait(1, 2)
    make = case.chance.one(MISTAKES)
    before = len(case.messages)
    letter = make(case)
    message = letter.message(f"mistake-{make.__name__.strip('_').replace('_', '-')}-{case.number:06d}")
    # what the mistake needed before it was sent in the same hour
    assert all(m.sent <= message.sent for m in case.messages[before:])
    return replace(message, expect_refused=True)


def _prepared(case: Case, letter: Letter, name: str) -> Letter:
    case.messages.append(letter.message(f"{name}-{case.number:06d}"))
    case.wait(1, 2)
    return case.letter(case.home)


def _dangling_reference(case: Case) -> Letter:
    """A urn:uuid that is not in the message."""
    letter = case.letter(case.home)
    missing = {"reference": f"urn:uuid:{case.chance.uuid()}"}
    letter.post(visits.observation(case, letter, "8867-4", "vital-signs", missing))
    return letter


def _unknown_practitioner(case: Case) -> Letter:
    """A conditional reference that matches nobody."""
    letter = case.letter(case.home)
    made = visits.observation(case, letter, "8867-4", "vital-signs", None)
    system = case.home.country.practitioner[0]
    letter.post(made | {"performer": [{"reference": f"Practitioner?identifier={system}|nobody"}]})
    return letter


def _unknown_status(case: Case) -> Letter:
    """A status that FHIR does not have."""
    letter = case.letter(case.home)
    letter.post(visits.observation(case, letter, "8867-4", "vital-signs", None) | {"status": "banana"})
    return letter


def _stranger(case: Case) -> Letter:
    """An operator writes about a patient who was never sent to it."""
    site = case.chance.one(case.world.of("urology" if case.home.kind != "urology" else "sports"))
    letter = case.letter(site)
    made: Json = {"resourceType": "Observation", "status": "final", "code": concept(LOINC, "8867-4", "Heart rate")}
    subject = {"reference": f"urn:epicrisis:{case.home.operator}:Patient/{case.patient_id}"}
    letter.post(made | {"subject": subject, "effectiveDateTime": letter.time(), "valueString": "quick"})
    return letter


def _accepted_by_the_sender(case: Case) -> Letter:
    """Only the clinic that a referral was sent to can accept it."""
    letter = case.letter(case.home)
    referral = referrals.refer(case, letter, case.chance.one(case.world.of("rehabilitation")), "Rehabilitation", None)
    letter = _prepared(case, letter, "referral")
    referrals.progress(case, letter, referral, "accepted")
    return letter


def _confirmed_after_it_was_ruled_out(case: Case) -> Letter:
    """A diagnosis that was ruled out cannot be confirmed."""
    letter = case.letter(case.home)
    contact = visits.encounter(case, letter, CHECK_UP)
    illness = suspect(case, letter, case.chance.one(table("diseases")["common"]), contact)
    letter = _prepared(case, letter, "suspicion")
    say(letter, illness, "refuted", "inactive")
    letter = _prepared(case, letter, "ruled-out")
    say(letter, illness, "confirmed")
    return letter


def _no_verification(case: Case) -> Letter:
    """An allergy with statuses that no code system has, and nobody it belongs to."""
    letter = case.letter(case.home)
    made: Json = {"resourceType": "AllergyIntolerance", "clinicalStatus": hl7("allergyintolerance-clinical", "active")}
    letter.post(made)  # `patient` is required
    return letter


MISTAKES: tuple[Mistake, ...] = (
    _dangling_reference,
    _unknown_practitioner,
    _unknown_status,
    _stranger,
    _accepted_by_the_sender,
    _confirmed_after_it_was_ruled_out,
    _no_verification,
)
