"""Ten thousand random changes of bundles and of a ledger: each is found, and nothing that was not changed is."""

from __future__ import annotations

import copy
import random
from collections import Counter
from functools import lru_cache
from typing import Any

import pytest

from epicrisis.audit.chain import ENTRY
from epicrisis.audit.checkpoint import Tampered
from epicrisis.audit.recount import recount
from epicrisis.audit.signing import Signer
from epicrisis.audit.verifier.bundle import NAMES, read, write
from epicrisis.audit.verifier.check import check
from epicrisis.audit.verifier.history import Head
from epicrisis.audit.verifier.merkle import Wrong
from epicrisis.audit.verifier.note import Key, Note, Policy
from epicrisis.errors import Refused
from tests.unit.audit.bundles import ADA, BEN, COY, NOBODY, bundle_of, filled, trusted
from tests.unit.audit.ledger import Ledger, secret

BUNDLE_MUTATIONS, LEDGER_MUTATIONS, SEED = 9_400, 600, 20260301
WHO = (ADA, BEN, COY, NOBODY)
FORGER = [Signer.log("cluster.example", secret("forger")), Signer.witness("w0.example", secret("forger"))]


@pytest.fixture(autouse=True)
def checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes say the same: most changes leave signatures, policy and head alone."""
    monkeypatch.setattr(Key, "verified", lru_cache(maxsize=10_000)(Key.verified))
    for kind in (Policy, Head, Key):
        monkeypatch.setattr(kind, "parse", staticmethod(lru_cache(maxsize=1_000)(kind.parse)))


def mutated(raw: bytes, pick: random.Random) -> tuple[str, bytes]:
    """Bytes changed in one way, and which."""
    a, b = sorted(pick.choices(range(len(raw)), k=2)) if raw else (0, 0)
    match kind := pick.choice(("flip", "drop", "insert", "swap", "truncate", "double", "overwrite")):
        case "flip":
            return kind, raw[:a] + bytes([raw[a] ^ 1 << pick.randrange(8)]) + raw[a + 1 :] if raw else b"x"
        case "drop":
            return kind, raw[:a] + raw[min(b, a + pick.randrange(1, 60)) :]
        case "insert":
            return kind, raw[:a] + pick.randbytes(pick.randrange(1, 8)) + raw[a:]
        case "swap":
            return kind, raw[:a] + raw[b : b + 9] + raw[a + 9 : b] + raw[a : a + 9] + raw[b + 9 :]
        case "truncate":
            return kind, raw[:a]
        case "double":
            return kind, raw[:b] + raw[a:b] + raw[b:]
        case _:
            some = pick.randbytes(pick.randrange(1, 9))
            return kind, raw[:a] + some + raw[a + len(some) :]


def by_lines(text: bytes, pick: random.Random) -> tuple[str, bytes]:
    """Whole lines: events, proofs, signatures, keys."""
    lines = text.splitlines(keepends=True) or [b"\n"]
    a, b = pick.randrange(len(lines)), pick.randrange(len(lines))
    match kind := pick.choice(("line dropped", "lines swapped", "line doubled", "lines truncated")):
        case "line dropped":
            lines.pop(a)
        case "lines swapped":
            lines[a], lines[b] = lines[b], lines[a]
        case "line doubled":
            lines.insert(b, lines[a])
        case _:
            del lines[a:]
    return kind, b"".join(lines)


def forged(text: bytes, pick: random.Random) -> tuple[str, bytes]:
    """A note with the right names and another key's signatures, or with another checkpoint's."""
    note = Note.parse(text.decode())
    signed = pick.choice(FORGER).sign(note.checkpoint, pick.randrange(2**31)).encode()
    return "forged key", text.partition(b"\n\n")[0] + b"\n\n" + signed + text.partition(b"\n\n")[2]


def passes(raw: bytes, policy: Policy) -> bool:
    try:
        check(raw, policy)
    except Wrong:
        return False
    return True


def test_every_change_of_a_bundle_is_found() -> None:
    ledger, older, other = (
        filled(Ledger(witnesses=1, enough=1)), filled(Ledger(witnesses=1, enough=1), 2), filled(Ledger(), 3)
    )  # fmt: skip
    policy, pick, done = trusted(ledger), random.Random(SEED), Counter[str]()
    whole = {subject: bundle_of(ledger, subject) for subject in (ADA, BEN, NOBODY)}
    foreign = [read(bundle_of(one, s)) for one in (ledger, older, other) for s in WHO]
    n = 0
    while sum(done.values()) < BUNDLE_MUTATIONS:
        n += 1
        subject = pick.choice(list(whole))
        raw = whole[subject]
        files = read(raw)
        name = pick.choice(NAMES)
        if n % 4 == 0:
            kind, new = mutated(raw, pick)
        else:
            match pick.randrange(4):
                case 0:
                    kind, changed = mutated(files[name], pick)
                case 1:
                    kind, changed = by_lines(files[name], pick)
                case 2 if files["partition.txt"]:
                    name = pick.choice(("checkpoint.txt", "partition.txt"))
                    kind, changed = forged(files[name], pick)
                case _:
                    kind, changed = "from another bundle", pick.choice(foreign)[name]
            new = write({**files, name: changed})
        if new == raw:
            continue
        done[kind] += 1
        assert not passes(new, policy), f"not found: {kind} of {name} in the bundle of {subject}, step {n}"
        if n % 500 == 0:
            assert all(passes(one, policy) for one in whole.values())
    assert len(done) == 13, done


def changed_ledger(ledger: Ledger, pick: random.Random) -> str:
    """One change in what the cluster database holds; which."""
    records = ledger.records
    match kind := pick.choice(("row", "rows", "entries", "tile", "head", "note", "file", "bucket", "shelf")):
        case "row":
            rows = ledger.histories[pick.choice(list(ledger.histories))]
            at = pick.randrange(len(rows))
            column = pick.choice(("value", "link", "leaf", "n", "seq"))
            old: Any = getattr(rows[at], column)
            new = old + pick.choice((-1, 1)) if isinstance(old, int) else mutated(old, pick)[1]
            rows[at] = rows[at]._replace(**{column: new})
        case "rows":
            rows = ledger.histories[pick.choice(list(ledger.histories))]
            a, b = pick.randrange(len(rows)), pick.randrange(len(rows))
            pick.choice((lambda: rows.pop(a), lambda: rows.insert(a, rows[b]), lambda: _swap(rows, a, b)))()
        case "entries":
            tree = pick.choice([n for n, raw in records.ledger.items() if raw])
            records.ledger[tree] = mutated(records.ledger[tree], pick)[1]
        case "tile":
            _one(records.tiles, pick)
        case "head":
            records.heads[-1] = _text(records.heads[-1], pick)
        case "note":
            place = pick.choice([place for place in records.notes if place[1]])
            records.notes[place] = _text(records.notes[place], pick)
        case "file":
            digest = pick.choice(list(records.files))
            records.files[digest] = _text(records.files[digest], pick)
        case "bucket":
            _one(records.maps[max(records.maps)][0], pick)
        case _:
            _one(records.maps[max(records.maps)][1], pick)
    return kind


def _swap(rows: list[Any], a: int, b: int) -> None:
    rows[a], rows[b] = rows[b], rows[a]


def _one(some: dict[Any, bytes], pick: random.Random) -> None:
    key = pick.choice(list(some))
    some[key] = mutated(some[key], pick)[1]


def _text(text: str, pick: random.Random) -> str:
    return mutated(text.encode(), pick)[1].decode(errors="replace")


def found(ledger: Ledger) -> bool:
    """Whether an export of any patient, a recount or the next checkpoint notices."""
    try:
        for subject in WHO:
            check(bundle_of(ledger, subject), trusted(ledger))
        if any(recount(ledger.records)):
            return True
        ledger.publish()
    except (Refused, Tampered, Wrong):
        return True
    return False


def state(ledger: Ledger) -> tuple[object, ...]:
    r = ledger.records
    return r.ledger, r.tiles, r.heads, r.notes, r.files, r.maps, ledger.histories


def test_every_change_of_a_ledger_is_found() -> None:
    whole, pick, done = filled(Ledger(witnesses=1, enough=1, partitions=3)), random.Random(SEED), Counter[str]()
    assert all(len(raw) % ENTRY == 0 for raw in whole.records.ledger.values())
    exports = [bundle_of(whole, subject) for subject in WHO]
    while sum(done.values()) < LEDGER_MUTATIONS:
        ledger = copy.copy(whole)
        ledger.records, ledger.histories = copy.deepcopy(whole.records), copy.deepcopy(whole.histories)
        ledger.checkpoints = ledger.with_records(ledger.records)
        kind = changed_ledger(ledger, pick)
        if state(ledger) == state(whole):
            continue
        done[kind] += 1
        before = copy.copy(ledger)
        before.records = copy.deepcopy(ledger.records)
        if not found(ledger):  # a signature twice, or one of nobody: left out
            assert kind == "note", f"not found: {kind}, after {done}"
            assert [bundle_of(before, subject) for subject in WHO] == exports
    assert not found(whole)
    assert len(done) == 9
