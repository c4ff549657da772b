"""Checkpoints: append-only, whatever happens in between; witnesses refuse another past."""

from __future__ import annotations

import copy
import re
from uuid import UUID

import pytest

from epicrisis.audit.checkpoint import Tampered
from epicrisis.audit.records import HEADS
from epicrisis.audit.signing import Signer
from epicrisis.audit.tiles import Tree
from epicrisis.audit.verifier.history import Head
from epicrisis.audit.verifier.note import Checkpoint, Note, Policy
from tests.unit.audit.ledger import ORIGIN, Ledger, secret

ADA, BEN, COY = (UUID(int=n) for n in (1, 2, 6))


def filled(**how: int) -> Ledger:
    """Three checkpoints over two patients."""
    ledger = Ledger(**how)
    for n in range(3):
        ledger.add(ADA, b"a%d" % n, b"b%d" % n)
        ledger.add(BEN, b"c%d" % n)
        ledger.publish()
    return ledger


def notes(ledger: Ledger) -> dict[int, Note]:
    """The newest note of each tree."""
    return {tree: Note.parse(ledger.records.notes[tree, size]) for tree, size in sorted(ledger.records.notes)}


def test_a_head_says_what_every_tree_and_the_map_are() -> None:
    ledger = filled()
    head = Head.parse(ledger.records.heads[-1])
    assert [size for size, _ in head.trees] == [0, 6, 3, 0]
    assert (head.subjects, head.time) == (2, "2026-03-01T08:03:00Z")
    assert set(head.files) == {"keys.txt", "policy.txt", "schemas.json"}
    found = notes(ledger)
    assert {tree: (n.checkpoint.origin, n.checkpoint.size) for tree, n in found.items()} == {
        HEADS: (ORIGIN, 3), 1: (f"{ORIGIN}/1", 6), 2: (f"{ORIGIN}/2", 3)
    }  # fmt: skip
    for tree, n in found.items():
        assert n.checkpoint.root == Tree(lambda at, i, t=tree: ledger.records.tile(t, at, i)).root(n.checkpoint.size)  # type: ignore[misc]
        ledger.checkpoints.policy.check(n, ORIGIN)


def test_a_checkpoint_without_news_is_a_new_head_all_the_same() -> None:
    ledger = filled()
    before = ledger.records.notes[1, 6]
    assert ledger.publish()
    assert Head.parse(ledger.records.heads[3]).trees == Head.parse(ledger.records.heads[2]).trees
    assert ledger.records.notes[1, 6] == before
    assert (HEADS, 3) not in ledger.records.notes, "an older one is of no use"


def test_killed_anywhere_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, whole = filled(), filled()
    ledger.add(COY, b"x")
    whole.add(COY, b"x")
    whole.publish()
    for step in ("add_tiles", "save_map", "add_head", "add_note", "add_file", "keys"):
        with monkeypatch.context() as patched:
            work = getattr(ledger.records, step)

            def killed(*args: object, work: object = work) -> None:
                work(*args)  # type: ignore[operator]
                raise KeyboardInterrupt

            patched.setattr(type(ledger.records), step, staticmethod(killed))
            with pytest.raises(KeyboardInterrupt):
                ledger.checkpoints.publish()
    ledger.publish()
    assert ledger.records.heads == whole.records.heads
    assert ledger.records.tiles == whole.records.tiles
    assert ledger.records.notes.keys() == whole.records.notes.keys()


@pytest.mark.parametrize("place", ["tile", "short tile", "upper", "map", "entries", "gap", "head", "note"])
def test_what_was_changed_under_it_is_not_signed(place: str) -> None:
    ledger = filled()
    records = ledger.records
    match place:
        case "tile":
            records.tiles[1, 0, 0] = bytes(32) + records.tiles[1, 0, 0][32:]
        case "short tile":
            records.tiles[1, 0, 0] = records.tiles[1, 0, 0][:-32]
        case "upper":
            records.tiles[HEADS, 0, 0] = bytes(32) + records.tiles[HEADS, 0, 0][32:]
        case "map":
            shelves = records.maps[max(records.maps)][1]
            shelves[256] = bytes(32) + shelves[256][32:]
        case "entries":
            records.ledger[1] += b"short"
        case "gap":
            records.entries = lambda partition, first: [(first + 1, bytes(56))]  # type: ignore[method-assign]
        case "head":
            records.heads[-1] = records.heads[-1].replace("subjects 2", "subjects 3")
        case "note":
            records.notes.clear()
    ledger.add(ADA, b"more")
    with pytest.raises(Tampered):
        ledger.checkpoints.publish()


def test_another_number_of_partitions_is_refused() -> None:
    ledger = filled()
    ledger.partitions = 8
    with pytest.raises(Tampered, match="4 partitions, the settings 8"):
        ledger.with_records(ledger.records).publish()


# Witnesses


def test_enough_witnesses_make_a_checkpoint_trusted() -> None:
    ledger = filled(witnesses=3, enough=2)
    assert ledger.records.trusted_heads == {0, 1, 2}
    found = notes(ledger)[HEADS]
    signers = found.signers(ledger.checkpoints.policy.keys_of(ORIGIN, ORIGIN))
    ledger.checkpoints.policy.check(found, ORIGIN)
    assert len(signers) == 2 + 3 * 2
    assert len(found.lines) == len(signers)


def test_a_witness_that_does_not_answer_is_missed_and_caught_up_later() -> None:
    ledger = filled(witnesses=3, enough=3)
    away = ledger.witnesses.pop()

    def ask(address: str, request: str) -> tuple[int, str]:
        if address.endswith(away.signer.name):
            raise ConnectionRefusedError
        return Ledger.ask(ledger, address, request)

    ledger.add(ADA, b"more")
    ledger.checkpoints.publish()
    assert ledger.checkpoints.witness(ask) == (False, {"https://w2.example": "ConnectionRefusedError"}, {})
    assert ledger.records.head(trusted=True) == (2, ledger.records.heads[2])
    ledger.witnesses.append(away)
    ledger.add(BEN, b"more")
    assert ledger.publish()


def test_a_witness_that_has_lost_its_memory_or_the_log_its_own_is_told() -> None:
    ledger = filled(witnesses=1, enough=1)
    ledger.records.known.clear()
    ledger.add(ADA, b"more")
    assert ledger.publish()
    ledger.witnesses[:] = [ledger.witness("w0.example")]
    ledger.add(ADA, b"more")
    assert ledger.publish()


def test_with_the_log_key_and_all_rights_another_past_is_still_refused_by_witnesses() -> None:
    ledger = filled(witnesses=1, enough=1)
    evil = Ledger(witnesses=1, enough=1)
    evil.witnesses = ledger.witnesses
    for n in range(3):
        evil.add(ADA, b"a%d" % n, b"b%d" % n if n != 1 else b"forged")
        evil.add(BEN, b"c%d" % n)
    for more in (b"", b"more"):
        if more:
            evil.add(ADA, more)
        evil.checkpoints.publish()
        trusted, silent, refused = evil.checkpoints.witness(evil.ask)
        assert (trusted, silent) == (False, {})
        assert re.search(r"refuses cluster.example/1 \((409|422)\)", refused["https://w0.example"])
    assert not evil.records.trusted_heads


def test_a_log_that_was_rolled_back_is_refused_by_witnesses() -> None:
    ledger = filled(witnesses=1, enough=1)
    backup = copy.deepcopy(ledger.records)
    ledger.add(ADA, b"x", b"y")
    ledger.publish()
    backup.ledger[1] += b"\1" * 56
    restored = ledger.with_records(backup)
    restored.publish()
    assert "knows another history" in restored.witness(ledger.ask).refused["https://w0.example"]


def test_two_that_make_checkpoints_at_once_do_not_take_each_other_for_a_forger() -> None:
    ledger = filled(witnesses=1, enough=1)
    ledger.add(ADA, b"x")
    ledger.checkpoints.publish()

    def slow(address: str, request: str) -> tuple[int, str]:
        if not passed:
            passed.append(1)
            ledger.add(ADA, b"y")
            assert ledger.publish()
        return ledger.ask(address, request)

    passed: list[int] = []
    trusted, silent, refused = ledger.checkpoints.witness(slow)
    assert (trusted, refused, *silent.values()) == (False, {}, "has cosigned a newer checkpoint meanwhile")
    assert ledger.publish()


def test_a_witness_answers_as_the_specification_says() -> None:
    ledger = filled(witnesses=1, enough=1)
    witness = ledger.witnesses[0]
    text = ledger.records.notes[1, 6]
    tree = Tree(lambda level, n: ledger.records.tile(1, level, n))
    new = Checkpoint(f"{ORIGIN}/1", 6, tree.root(6))

    def ask(head: str, note: str = text) -> tuple[int, str]:
        answer = witness.add_checkpoint(f"{head}\n{note}".encode())
        return answer.status, answer.body if answer.status == 409 else ""

    assert ask("old 6\n") == (200, ""), "the same again"
    assert ask("old 0\n") == (409, "6\n")
    assert ask("old 5\n") == (409, "6\n")
    assert ask("old 7\n") == (400, "")
    assert ask("old 06\n") == (400, "")
    assert ask("old -6\n") == (400, "")
    assert ask("young 6\n") == (400, "")
    assert ask("old 6\nAAAA\n") == (400, "")
    assert ask("old 6\n" + "A" * 43 + "=\n") == (422, "")
    assert ask("old 6\n" + ("A" * 43 + "=\n") * 64) == (400, "")
    other = Checkpoint(new.origin, 6, bytes(32))
    assert ask("old 6\n", f"{other.text}\n{ledger.signer.sign(other, 1)}") == (409, "6\n")
    longer = Checkpoint(new.origin, 7, bytes(32))
    assert ask("old 6\n", f"{longer.text}\n{ledger.signer.sign(longer, 1)}") == (422, "")
    stranger = Signer.log(ORIGIN, secret("another"))
    assert ask("old 6\n", f"{new.text}\n{stranger.sign(new, 1)}") == (403, "")
    foreign = Checkpoint("other.example", 6, bytes(32))
    assert ask("old 0\n", f"{foreign.text}\n{ledger.signer.sign(foreign, 1)}") == (404, "")
    for garbage in (b"", b"\xff", b"old 6\n\n", b"old 6", b"x" * 600_000, text.encode()):
        assert witness.add_checkpoint(garbage).status == 400
    assert ask("old 6\n") == (200, ""), "none of this has changed what it remembers"


def test_the_policy_is_published_with_the_log_s_own_keys() -> None:
    ledger = filled(witnesses=2, enough=1)
    head = Head.parse(ledger.records.heads[-1])
    published = Policy.parse(ledger.records.files[head.files["policy.txt"]])
    assert published == ledger.checkpoints.policy
    assert published.logs == ledger.signer.keys


def test_another_key_of_the_log_takes_over_and_the_old_one_keeps_its_dates() -> None:
    ledger = filled(witnesses=1, enough=1)
    changed = Signer.log(ORIGIN, secret("next"))
    for one in ledger.witnesses:
        one._logs = (*one._logs, *changed.keys)
    ledger.checkpoints = ledger.with_records(ledger.records, changed)
    assert ledger.publish()
    for note in notes(ledger).values():
        ledger.checkpoints.policy.check(note, ORIGIN)
    head = Head.parse(ledger.records.heads[-1])
    lines = ledger.records.files[head.files["keys.txt"]].splitlines()
    assert sum(" until 2026-03-01T08:04:00Z" in line for line in lines) == 2
    assert len(lines) == 4
