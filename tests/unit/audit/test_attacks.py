"""Attacks, made by hand: without a key, with the log's key, with all rights on its database. Every one shows."""

from __future__ import annotations

import copy
import io
import json
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from epicrisis.audit.records import HEADS
from epicrisis.audit.recount import recount
from epicrisis.audit.signing import Signer
from epicrisis.audit.verifier import bundle, page
from epicrisis.audit.verifier.bundle import read, write
from epicrisis.audit.verifier.check import check, check_agreement, examined
from epicrisis.audit.verifier.history import MEMBER, Head, entry_of, key_of, next_link, value_of
from epicrisis.audit.verifier.merkle import HASH, Wrong
from epicrisis.audit.verifier.note import Checkpoint, Policy, b64, unb64
from tests.unit.audit.bundles import ADA, BEN, COY, NOBODY, bundle_of, filled, records, trusted
from tests.unit.audit.ledger import ORIGIN, Ledger, policy, secret

HOW = {"witnesses": 2, "enough": 2}
GOOD = filled(Ledger(**HOW))
OLDER = filled(Ledger(**HOW), 2)
BUNDLES = {subject: bundle_of(GOOD, subject) for subject in (ADA, BEN, COY, NOBODY)}
Files = dict[str, str]


def files(raw: bytes) -> Files:
    return {name: content.decode() for name, content in read(raw).items()}


def packed(some: Files, *, with_page: bool = True) -> bytes:
    """A bundle of these files; the forger writes the page that belongs to them, if they let him."""
    if with_page:
        with suppress(Wrong):
            some = {**some, "index.html": page.render(examined(some), Policy.parse(some["policy.txt"]))}
    return write({name: text.encode() for name, text in some.items()})


def lines(some: Files) -> list[str]:
    return some["events.ndjson"].splitlines(keepends=True)


def about(some: Files, **changes: object) -> Files:
    history = {**json.loads(some["history.json"]), **changes}
    return {**some, "history.json": bundle.dumped(history) + "\n"}


def events(some: Files, edit: Callable[[list[str]], list[str]]) -> Files:
    return {**some, "events.ndjson": "".join(edit(lines(some)))}


def event(some: Files, n: int, **changes: object) -> Files:
    one = {name: value for name, value in {**json.loads(lines(some)[n]), **changes}.items() if value is not None}
    return events(some, lambda all_: [*all_[:n], bundle.dumped(one) + "\n", *all_[n + 1 :]])


def nothing_logged(some: Files) -> Files:
    return about({**some, "events.ndjson": "", "partition.txt": ""}, partition=None)


def without_member(some: Files) -> Files:
    return about(nothing_logged(some), bucket="")


def of_nobody(some: Files) -> Files:
    other = json.loads(files(BUNDLES[NOBODY])["history.json"])
    return about(nothing_logged(some), bucket=other["bucket"], bucket_path=other["bucket_path"])


def stub(some: Files, n: int) -> Files:
    value = json.loads(lines(some)[n])["value"]
    return event(some, n, value=None, digest=b64(sha256(unb64(value)).digest()))


ada, ben, old = files(BUNDLES[ADA]), files(BUNDLES[BEN]), files(bundle_of(OLDER, ADA))
ATTACKS: dict[str, Callable[[], Files]] = {
    "the last event is left out": lambda: events(ada, lambda all_: all_[:-1]),
    "the first event is left out": lambda: events(ada, lambda all_: all_[1:]),
    "an event in between is left out": lambda: events(ada, lambda all_: all_[:2] + all_[3:]),
    "two events change places": lambda: events(ada, lambda all_: [all_[1], all_[0], *all_[2:]]),
    "an event is there twice": lambda: events(ada, lambda all_: [*all_, all_[-1]]),
    "another patient's event comes in": lambda: events(ada, lambda all_: [*all_, lines(ben)[0]]),
    "an event is replaced by a new one": lambda: event(ada, 0, value=b64(records(ADA)[0])),
    "another patient's history under this name": lambda: about(ben, subject=str(ADA)),
    "another patient's events under this map entry": lambda: {**ada, "events.ndjson": ben["events.ndjson"]},
    "nothing was ever logged, says the list": lambda: nothing_logged(ada),
    "nothing was ever logged, says an empty bucket": lambda: without_member(ada),
    "nothing was ever logged, says somebody else's bucket": lambda: of_nobody(ada),
    "one event is called erased": lambda: stub(ada, 0),
    "the last event is called erased": lambda: stub(ada, 5),
    "an event is proved at another one's place": lambda: event(ada, 0, leaf=json.loads(lines(ada)[1])["leaf"]),
    "with another event's proof": lambda: event(ada, 0, path=json.loads(lines(ada)[1])["path"]),
    "with another patient's map proof": lambda: about(
        ada, **{name: json.loads(ben["history.json"])[name] for name in ("bucket", "bucket_path")}
    ),
    "an older checkpoint with today's events": lambda: {**ada, "checkpoint.txt": old["checkpoint.txt"]},
    "an older head and checkpoint with today's events": lambda: {
        **ada, **{name: old[name] for name in ("checkpoint.txt", "head.txt", "history.json", "partition.txt")}
    },
    "today's checkpoint with older events": lambda: {**ada, "events.ndjson": old["events.ndjson"]},
    "another partition's checkpoint": lambda: {**ada, "partition.txt": ben["partition.txt"]},
    "the cluster's checkpoint as the partition's": lambda: {**ada, "partition.txt": ada["checkpoint.txt"]},
    "a policy that asks for nobody": lambda: {**ada, "policy.txt": "quorum none\n"},
    "a policy without witnesses": lambda: {
        **ada, "policy.txt": "".join(f"log {key}\n" for key in GOOD.signer.keys) + "quorum none\n"
    },
    "keys with other dates": lambda: {**ada, "keys.txt": ada["keys.txt"].replace("from 2026", "from 2020")},
    "other schemas": lambda: {**ada, "schemas.json": "{ }\n"},
    "a head of another time": lambda: {**ada, "head.txt": ada["head.txt"].replace("08:03", "09:03")},
    "a signature is taken away": lambda: {
        **ada, "checkpoint.txt": "".join(ada["checkpoint.txt"].splitlines(keepends=True)[:-1])
    },
    "a signature of a stranger is added": lambda: {
        **ada, "checkpoint.txt": ada["checkpoint.txt"] + Signer.witness("w9", secret("w9")).sign(
            Checkpoint(ORIGIN, 3, bytes(32)), 1
        )
    },
    "cosignatures of an older checkpoint": lambda: {
        **ada, "checkpoint.txt": ada["checkpoint.txt"].partition("\n\n")[0] + "\n\n"
        + old["checkpoint.txt"].partition("\n\n")[2]
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_without_a_key(name: str) -> None:
    with pytest.raises(Wrong):
        check(packed(ATTACKS[name]()))


@pytest.mark.parametrize("subject", BUNDLES)
def test_what_was_not_attacked_is_right(subject: UUID) -> None:
    assert check(packed(files(BUNDLES[subject])), trusted(GOOD)) == check(BUNDLES[subject], trusted(GOOD))


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("<b>6</b>", "<b>5</b>"),
        lambda text: text.replace("</body>", "<script>alert(1)</script></body>"),
        lambda text: text + " ",
        lambda text: "",
    ],
)
def test_a_page_that_says_something_else(edit: Callable[[str], str]) -> None:
    with pytest.raises(Wrong, match="page for people"):
        check(packed({**ada, "index.html": edit(ada["index.html"])}, with_page=False))


# With the log's key, and all rights on its database


def rewritten() -> Ledger:
    """The same cluster, keys and all, with another second event of Ada, from the beginning; no witness is asked."""
    forged = Ledger(**HOW)
    for round_, subjects in enumerate(([ADA, BEN, ADA, COY], [ADA, BEN, ADA], [ADA, BEN, ADA, COY])):
        for subject in subjects:
            history = GOOD.histories[subject]
            n = len(forged.histories.get(subject, []))
            changed = subject == ADA and n == 1
            forged.add(subject, records(ADA, ADA)[1] if changed else history[n].value)
        forged.now = GOOD.now
        forged.checkpoints.publish()
        assert round_ < 3
    return forged


def signed_alone(ledger: Ledger, subject: UUID) -> bytes:
    """A bundle of the newest checkpoint, with witnesses that the attacker made up."""
    fake = Ledger(**HOW)
    fake.records, fake.histories, fake.now = ledger.records, ledger.histories, ledger.now
    made_up = [Signer.witness(f"w{n}.example", secret(f"made up {n}")) for n in range(2)]
    fake.policy = policy(made_up, 2)
    fake.witnesses = [type(GOOD.witnesses[0])(one, ledger.signer.keys, ":memory:") for one in made_up]
    fake.checkpoints = fake.with_records(ledger.records)
    assert fake.publish()
    return bundle_of(fake, subject)


def test_a_rewritten_history_is_refused_by_the_witnesses() -> None:
    forged = rewritten()
    forged.witnesses = copy.copy(GOOD.witnesses)
    assert "another history" in forged.checkpoints.witness(forged.ask).refused["https://w0.example"]


def test_a_rewritten_history_with_made_up_witnesses_does_not_pass_for_those_who_know_the_real_ones() -> None:
    raw = signed_alone(rewritten(), ADA)
    assert check(raw).events, "by its own keys it is right"
    with pytest.raises(Wrong, match="witnesses"):
        check(raw, trusted(GOOD))


def test_everything_signed_by_somebody_else_does_not_pass() -> None:
    other = filled(Ledger(**HOW, name="another log key"))  # type: ignore[arg-type]
    with pytest.raises(Wrong, match="not signed by the log"):
        check(bundle_of(other, ADA), trusted(GOOD))


def test_a_rewritten_history_contradicts_an_exported_receipt() -> None:
    receipt, forged = check(BUNDLES[ADA]), check(signed_alone(rewritten(), ADA))
    with pytest.raises(Wrong, match="two histories"):
        check_agreement(receipt, forged)


def test_a_split_view_shows_where_two_people_compare() -> None:
    left, right = Ledger(), Ledger()
    left.add(ADA, *records(ADA))
    right.add(ADA, *records(ADA, ADA)[:1])
    left.add(BEN, *records(BEN))
    right.add(BEN, *records(BEN, BEN)[:1])
    for one in (left, right):
        one.publish()
    with pytest.raises(Wrong, match="two different trees of the same size"):
        check_agreement(check(bundle_of(left, ADA)), check(bundle_of(right, BEN)))


def lied(heads: dict[UUID, tuple[int, bytes]], *, forget: UUID | None = None) -> Ledger:
    """A log that goes on honestly, but whose map says this of these subjects; real witnesses cosign its trees."""
    from epicrisis.audit import checkpoint, subjects

    ledger = filled(Ledger(**HOW), 2)
    honest = subjects.changed

    def changed(buckets: subjects.Read, shelves: subjects.Read, news: Mapping[UUID, Any]) -> subjects.Changed:
        made = honest(buckets, shelves, {**news, **heads})
        if forget is None:
            return made
        others = honest(lambda _: {}, lambda _: {}, {s: h for s, h in current(ledger).items() if s != forget})
        kept = {n: others.shelves.get(n, subjects.empty()[n == subjects.TOP]) for n in range(subjects.TOP + 1)}
        hidden = {**others.buckets, subjects.bucket_of(key_of(forget)): b""}
        return subjects.Changed(hidden, kept, others.root, made.gained)

    ledger.add(ADA, GOOD.histories[ADA][4].value)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpoint.subjects, "changed", changed)
        assert ledger.publish()
    return ledger


def current(ledger: Ledger) -> dict[UUID, tuple[int, bytes]]:
    return {subject: (len(some), some[-1].link) for subject, some in ledger.histories.items()}


def test_a_map_that_hides_the_last_event_contradicts_a_receipt_and_the_entries() -> None:
    receipt = check(bundle_of(OLDER, ADA))
    third = GOOD.histories[ADA][2]
    ledger = lied({ADA: (3, third.link)})
    with pytest.raises(Wrong, match="two histories"):
        check_agreement(receipt, check(bundle_of(ledger, ADA), trusted(ledger)))
    assert any("map" in line for line in recount(ledger.records))


def test_a_map_that_hides_a_patient_contradicts_a_receipt_and_the_entries() -> None:
    ledger = lied({}, forget=ADA)
    hidden = check(bundle_of(ledger, ADA), trusted(ledger))
    assert hidden.events == (), "what a log with its witnesses' cosignatures can do, and why receipts are kept"
    with pytest.raises(Wrong, match="two histories"):
        check_agreement(check(bundle_of(OLDER, ADA)), hidden)
    assert any("map" in line for line in recount(ledger.records))


def test_a_head_that_lies_about_a_partition_does_not_fit_the_partitions_own_checkpoint() -> None:
    head = Head.parse(ada["head.txt"])
    lie = copy.copy(head)
    object.__setattr__(lie, "trees", tuple((size + 1, bytes(32)) for size, _ in head.trees))
    with pytest.raises(Wrong):
        check(packed({**ada, "head.txt": str(lie)}))


def test_a_map_that_says_two_things_of_a_patient_is_not_believed() -> None:
    """Signed and cosigned as it is, so that all else fits; it is exported by hand, as our own exporter looks at it."""
    from epicrisis.audit import export, subjects

    ledger = filled(Ledger(**HOW), 2)
    earlier = value_of(3, GOOD.histories[ADA][2].link)
    ledger.add(ADA, GOOD.histories[ADA][4].value)
    with pytest.MonkeyPatch.context() as patched, ledger.records.transaction() as at:
        patched.setattr(subjects, "value_of", lambda n, link: value_of(n, link) + key_of(ADA) + earlier)
        assert ledger.publish()
        stored = at.head(trusted=True)
        assert stored is not None
        patched.setattr(export, "value_in", lambda root, subject, bucket, path: bucket[HASH:MEMBER])
        forged = export._texts(at, stored, ledger.histories[ADA], ADA, ledger.partition_of(ADA), False)
    with pytest.raises(Wrong, match="not in order"):
        check(packed(forged), trusted(ledger))


def test_events_of_nobody_do_not_fit_in_a_map_out_of_order() -> None:
    twice = {"bucket": b64(key_of(ADA) + value_of(5, bytes(32)) + key_of(ADA) + value_of(6, bytes(32)))}
    with pytest.raises(Wrong, match="not in order"):
        check(packed(about(ada, **twice)))


def test_a_changed_row_of_the_ledger_is_not_exported() -> None:
    for column, value in [
        ("value", records(ADA, ADA)[1]), ("link", bytes(32)), ("seq", 9), ("n", 9), ("source", "x"), ("leaf", 0),
        ("recorded", GOOD.now),
    ]:  # fmt: skip
        ledger = filled(Ledger(**HOW))
        ledger.histories[ADA][1] = ledger.histories[ADA][1]._replace(**{column: value})
        with pytest.raises(Exception, match=r"do not agree") as refused:
            bundle_of(ledger, ADA)
        assert type(refused.value).__name__ == "Refused", column


def test_entries_that_were_changed_afterwards_are_found_by_a_recount() -> None:
    ledger = filled(Ledger(**HOW))
    assert list(recount(ledger.records)) == []
    forged = entry_of(ADA, 1, next_link(bytes(32), bytes(32)))
    before = ledger.records.ledger[1]
    for changed in (forged + before[56:], before[:-56], before[56:112] + before[:56] + before[112:]):
        ledger.records.ledger[1] = changed
        assert any("partition 1" in line for line in recount(ledger.records))


def test_a_part_without_entries_is_found_by_a_recount() -> None:
    ledger = filled(Ledger(**HOW))
    ledger.records.entries = lambda _, first: [(first, b"")]  # type: ignore[method-assign]
    assert any("partition 1" in line for line in recount(ledger.records))


def test_what_was_archived_since_the_newest_checkpoint_is_no_change() -> None:
    ledger = filled(Ledger(**HOW))
    ledger.add(ADA, b"one", b"another", access=True)
    assert list(recount(ledger.records)) == []


def test_tiles_map_and_heads_that_were_changed_afterwards_are_found_by_a_recount() -> None:
    for change in (
        lambda r: r.tiles.update({(1, 0, 0): bytes(32) + r.tiles[1, 0, 0][32:]}),
        lambda r: r.tiles.pop((1, 0, 0)),
        lambda r: r.tiles.pop((HEADS, 0, 0)),
        lambda r: r.maps[max(r.maps)][0].clear(),
        lambda r: r.maps[max(r.maps)][1].clear(),
        lambda r: r.maps[max(r.maps)][0].update({5: bytes(64)}),
        lambda r: r.heads.__setitem__(-1, r.heads[-1].replace("subjects 3", "subjects 4")),
        lambda r: r.heads.__setitem__(-1, "nonsense"),
    ):
        ledger = filled(Ledger(**HOW))
        change(ledger.records)
        assert list(recount(ledger.records))


# What is no bundle at all


def zipped(**how: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **how) as archive:  # type: ignore[call-overload]
        for name, text in ada.items():
            archive.writestr(name, text)
    return out.getvalue()


def with_name(name: str) -> bytes:
    return BUNDLES[ADA].replace(b"events.ndjson", name.encode().ljust(13, b"x")[:13])


def sized(size: int) -> bytes:
    raw = bytearray(BUNDLES[ADA])
    struct.pack_into("<I", raw, 18, size)
    return bytes(raw)


GARBAGE = {
    "compressed": zipped(compression=zipfile.ZIP_DEFLATED),
    "another program's zip": zipped(),
    "path traversal": with_name("../../etc/pwd"),
    "absolute path": with_name("/etc/passwd.."),
    "something before it": b"#!/bin/sh\n" + BUNDLES[ADA],
    "something behind it": BUNDLES[ADA] + b"x",
    "a comment": BUNDLES[ADA][:-2] + b"\1\0x",
    "twice": BUNDLES[ADA] * 2,
    "a size beyond the end": sized(0xFFFFFFFF),
    "another size": sized(7),
    "another checksum": BUNDLES[ADA][:14] + bytes(4) + BUNDLES[ADA][18:],
    "a zip bomb": zipped(compression=zipfile.ZIP_LZMA),
    "empty": b"",
    "random": bytes(range(256)) * 400,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_no_bundle(name: str) -> None:
    with pytest.raises(Wrong, match="not a valid bundle"):
        check(GARBAGE[name])


DEEP = "[" * 200_000
NONSENSE = {
    "history.json": [
        DEEP, DEEP + "]" * 200_000, "null\n", "[]\n", '{"a":1}\n', "NaN\n", "1e999\n", "9" * 5000 + "\n", '"\\ud800"\n',
        ada["history.json"].replace('"head":2', '"head":2.0'), ada["history.json"].replace('"head":2', '"head":true'),
        ada["history.json"].replace('"partition":1', '"partition":-1'),
        ada["history.json"].replace('"partition":1', '"partition":99999'),
        ada["history.json"].replace('"head":2', '"head":-1'), ada["history.json"].replace("{", "{ ", 1),
        ada["history.json"].replace('"head":2', '"head":2,"head":2'),
    ],
    "events.ndjson": [
        "\n", "{}\n", '{"leaf":0}\n', '{"leaf":0,"path":[],"value":5}\n', '{"leaf":0,"path":{},"value":""}\n',
        '{"leaf":0,"path":[1],"value":""}\n', '{"leaf":0,"path":[],"value":"AA=="}\n', "null\n", "\x00\n", DEEP + "\n",
        '{"digest":"AA==","leaf":0,"path":[]}\n', f'{{"leaf":{"9" * 4000},"path":[],"value":""}}\n',
        '{"leaf":0,"path":[' + ",".join(['"AA=="'] * 65) + '],"value":""}\n', "x" * 1_000_000,
    ],
    "checkpoint.txt": ["", "\n\n\n", "a\n1\nAA==\n\n— a AAAA\n", "— " * 100_000, "\n" * 100_000],
    "partition.txt": ["", "x", "\n\n"],
    "head.txt": ["", "epicrisis head v1\n", "partition 0 1 AA==\n" * 10_000, "subjects 1 AA==\naccess 0 AA==\n"],
    "keys.txt": ["", "x\n"],
    "policy.txt": ["", "group a any a\n" * 10_000, "quorum none\n"],
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_in_a_bundle_is_a_clean_no(name: str) -> None:
    began = time.process_time()
    for text in NONSENSE[name]:
        with pytest.raises(Wrong):
            check(packed({**ada, name: text}, with_page=False))
    assert time.process_time() - began < 5, "nothing in a file makes it hang"


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 20
