"""The simulated cluster through the real gate, intake and deciders, on doubles in memory."""

from __future__ import annotations

from collections import Counter

import pytest

from epicrisis.codec import Catalogue, Codec, Dictionaries, MemoryKeyStore
from epicrisis.errors import Refused
from epicrisis.found import services
from epicrisis.intake.identity import Digests
from epicrisis.intake.memory import MemoryInbox
from epicrisis.intake.receive import Intake
from epicrisis.journal.memory import MemoryJournal
from epicrisis.simulate import messages


@pytest.fixture(scope="module")
def outcome() -> tuple[Counter[str], list[str], list[str]]:
    """Events by type, what was refused and should not, what should have been refused and was not."""
    journals = {name: MemoryJournal(name) for name in services()}
    intake = Intake(
        services=services(),
        journals=journals,
        inbox=MemoryInbox(),
        codec=Codec(Catalogue.load(), Dictionaries.load()),
        keys=MemoryKeyStore(),
        digests=Digests(bytes(32)),
    )
    refused, let_in = [], []
    for message in messages(120, 1, mistakes=True):
        try:
            intake.receive(message.bundle, operator=message.operator, clinic=message.clinic, door="test")
        except Refused as refusal:
            if not message.expect_refused:
                refused.append(f"{message.name}: {refusal}")
        else:
            if message.expect_refused:
                let_in.append(message.name)
    events = Counter(event.type for journal in journals.values() for _, event in journal.log)
    return events, refused, let_in


def test_everything_is_let_in_but_the_mistakes(outcome: tuple[Counter[str], list[str], list[str]]) -> None:
    _, refused, let_in = outcome
    assert refused == []
    assert let_in == []


def test_nearly_every_kind_of_event_happens(outcome: tuple[Counter[str], list[str], list[str]]) -> None:
    events, _, _ = outcome
    all_types = {
        f"{context}.{name}"
        for context, names in {
            "registration": ["PatientRegistered", "PatientDetailsChanged", "PatientDeathRecorded", "PatientShared"],
            "diagnosis": [
                "DiagnosisRecorded", "DiagnosisRevised", "DiagnosisConfirmed", "DiagnosisStaged", "DiagnosisRefuted",
                "DiagnosisResolved", "DiagnosisEnteredInError",
            ],
            "referral": [
                "ReferralRequested", "ReferralAccepted", "ReferralDeclined", "ReferralScheduled", "ReferralCompleted",
                "ReferralCancelled",
            ],
            "inpatient_oncology": [
                "TransferRequested", "BedAssigned", "PatientAdmitted", "WardMoved", "TreatmentStageStarted",
                "TreatmentStageFinished", "PatientDischarged", "TransferCancelled", "EpisodeRecorded",
            ],
            "chart": ["ResourceRecorded", "ResourceAmended", "ResourceRetracted"],
            "directory": ["EntryRecorded"],
        }.items()
        for name in names
    }  # fmt: skip
    assert all_types - set(events) == set()
