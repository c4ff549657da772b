"""Bundles over a ledger in memory, with real records."""

from __future__ import annotations

from functools import cache
from uuid import UUID

from epicrisis.audit.export import export
from epicrisis.audit.verifier.note import Policy
from epicrisis.codec import LocalWrapping, MemoryKeyStore
from tests.kernel_support import MemoryLog, note
from tests.unit.audit.ledger import Ledger

ADA, BEN, COY, NOBODY = (UUID(int=n) for n in (1, 2, 6, 9))


def records(*subjects: UUID) -> list[bytes]:
    """Record values of the next events of each of these subjects, in order."""
    log = MemoryLog(MemoryKeyStore(LocalWrapping(bytes(32))))
    return [log.add(subject, note(f"n{n}")).value or b"" for n, subject in enumerate(subjects)]


def filled(ledger: Ledger, rounds: int = 3) -> Ledger:
    """Some patients, a checkpoint after each round."""
    for round_ in range(rounds):
        whose = [ADA, BEN, ADA, COY][: 4 - round_ % 2]
        log = _values()
        for subject in whose:
            seq = len(ledger.histories.get(subject, [])) + 1
            ledger.add(subject, log[subject][seq - 1])
        ledger.publish()
    return ledger


@cache
def _values() -> dict[UUID, list[bytes]]:
    return {subject: records(*[subject] * 20) for subject in (ADA, BEN, COY)}


def bundle_of(ledger: Ledger, subject: UUID, *, erased: bool = False) -> bytes:
    """What `epicrisis audit export` writes."""
    with ledger.records.transaction() as at:
        history = ledger.histories.get(subject, [])
        return export(at, history, subject, partition=ledger.partition_of(subject), erased=erased)[0]


def trusted(ledger: Ledger) -> Policy:
    """The policy as somebody got it from the cluster and the witnesses themselves."""
    return ledger.checkpoints.policy
