"""The tree of accesses: every head says how many there are, and no access can be taken out or put in unnoticed."""

from __future__ import annotations

import pytest

from epicrisis.audit.checkpoint import Tampered
from epicrisis.audit.records import ACCESSES
from epicrisis.audit.recount import recount
from epicrisis.audit.verifier.history import Head
from epicrisis.audit.verifier.merkle import EMPTY, leaf_hash, root_of
from tests.unit.audit.bundles import ADA, BEN, COY
from tests.unit.audit.ledger import Ledger


def filled() -> Ledger:
    """Two heads; ADA and BEN share no partition."""
    ledger = Ledger()
    ledger.add(ADA, b"1", b"2")
    ledger.add(ADA, b"3", access=True)
    ledger.publish()
    ledger.add(COY, b"5", access=True)
    ledger.add(ADA, b"6", access=True)
    ledger.add(BEN, b"7")
    ledger.publish()
    return ledger


def newest(ledger: Ledger) -> Head:
    return Head.parse(ledger.records.heads[-1])


def test_a_head_names_the_accesses_head_by_head_and_partition_by_partition() -> None:
    ledger = filled()
    assert newest(ledger).access[0] == 3
    assert Head.parse(ledger.records.heads[0]).access[0] == 1
    first = ledger.records.ledger[ledger.partition_of(ADA)][112:168]
    assert Head.parse(ledger.records.heads[0]).access[1] == root_of([leaf_hash(first)])
    with ledger.records.transaction() as at:
        assert list(recount(at)) == []


def test_without_accesses_it_is_the_empty_tree() -> None:
    ledger = Ledger()
    ledger.add(ADA, b"1")
    ledger.publish()
    assert newest(ledger).access == (0, EMPTY)


def test_an_access_that_is_taken_out_or_put_in_is_found() -> None:
    for change in ([], [2], [1, 2, 3]):
        ledger = filled()
        ledger.records.accessed[ledger.partition_of(ADA)] = change
        with ledger.records.transaction() as at:
            assert any("accesses" in line for line in recount(at)), change


def test_a_changed_tree_of_accesses_stops_the_next_checkpoint() -> None:
    ledger = filled()
    ledger.records.tiles[ACCESSES, 0, 0] = bytes(96)
    ledger.add(ADA, b"8", access=True)
    with pytest.raises(Tampered):
        ledger.publish()
