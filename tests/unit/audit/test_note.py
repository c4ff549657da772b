"""Notes, cosignatures and policies are those of C2SP: its own examples, and what it forbids."""

# ruff: noqa: E501  (notes are quoted as they are)

from __future__ import annotations

import pytest

from epicrisis.audit.signing import Signer
from epicrisis.audit.verifier.merkle import EMPTY, Wrong
from epicrisis.audit.verifier.note import COSIGNATURE, ED25519, MLDSA, Checkpoint, Key, Note, Policy, signature_lines

# https://c2sp.org/tlog-cosignature, the example of a checkpoint with a cosignature
BEHIND_THE_SOFA = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""
# https://pkg.go.dev/golang.org/x/mod/sumdb/note, the package's own example
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"

LOG = Signer.log("cluster.example", b"l" * 32)
WITNESSES = [Signer.witness(f"w{n}.example", bytes([n]) * 32) for n in range(3)]
CHECKPOINT = Checkpoint("cluster.example", 7, b"r" * 32)
NOW = 1_800_000_000


def note(*signers: Signer, checkpoint: Checkpoint = CHECKPOINT) -> Note:
    return Note.parse(f"{checkpoint.text}\n" + "".join(signer.sign(checkpoint, NOW) for signer in signers))


def policy(enough: int = 2) -> Policy:
    lines = [f"log {key}" for key in LOG.keys]
    for n, one in enumerate(WITNESSES):
        lines += [f"witness w{n} {one.keys[0]} https://{one.name}", f"witness w{n}q {one.keys[1]}"]
        lines += [f"group W{n} all w{n} w{n}q"]
    lines += [f"group enough {enough} W0 W1 W2", "quorum enough", "# the end", ""]
    return Policy.parse("\n".join(lines))


def test_the_example_of_c2sp_is_read_and_written_as_it_is() -> None:
    found = Note.parse(BEHIND_THE_SOFA)
    assert (found.checkpoint.origin, found.checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert str(found) == BEHIND_THE_SOFA
    assert int.from_bytes(found.lines[1][1][4:12], "big") == 1679315147, "the time that C2SP's text names"


def test_a_key_of_the_go_implementation_is_read_and_written_as_it_is() -> None:
    key = Key.parse(PETER)
    assert (key.name, key.type, str(key)) == ("PeterNeumann", ED25519, PETER)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a+b", "+c74f20a3+AQ==", "a b+c74f20a3+AQ==", PETER[:-4], PETER.replace("c74f", "c74e"),
        PETER.replace("Peter", "Paul"), PETER.replace("+ARpc", "+BRpc"), PETER.replace("+ARpc", "+AB pc"),
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        Key.parse(text)


def test_the_log_and_witnesses_sign_with_both_keys() -> None:
    signed = note(LOG, *WITNESSES)
    keys = [*LOG.keys, *(key for one in WITNESSES for key in one.keys)]
    assert signed.signers(keys) == {key: None if key.type == ED25519 else NOW for key in keys}
    assert [key.type for key in keys] == [ED25519, MLDSA] + [COSIGNATURE, MLDSA] * 3
    assert Note.parse(str(signed)) == signed


def test_what_an_mldsa_signature_covers_is_laid_out_as_c2sp_says() -> None:
    from epicrisis.audit.verifier.note import signed_message

    assert signed_message(MLDSA, "w", Checkpoint("o", 5, EMPTY), 258) == (
        b"subtree/v1\n\0" + b"\1w" + bytes(6) + b"\1\2" + b"\1o" + bytes(8) + bytes(7) + b"\5" + EMPTY
    )
    assert signed_message(COSIGNATURE, "w", CHECKPOINT, 1679315147).startswith(b"cosignature/v1\ntime 1679315147\nclu")


@pytest.mark.parametrize("line", range(8))
def test_a_flipped_bit_in_any_signature_is_found(line: int) -> None:
    signed = note(LOG, *WITNESSES)
    lines = list(signed.lines)
    for at in (4, 12, len(lines[line][1]) - 1):
        raw = bytearray(lines[line][1])
        raw[at] ^= 1
        changed = Note(signed.checkpoint, (*lines[:line], (lines[line][0], bytes(raw)), *lines[line + 1 :]))
        with pytest.raises(Wrong):
            policy().check(changed, "cluster.example")


def test_signatures_are_for_one_checkpoint_alone() -> None:
    signed = note(LOG, *WITNESSES)
    for other in (
        Checkpoint("cluster.example", 8, CHECKPOINT.root),
        Checkpoint("cluster.example/1", 7, CHECKPOINT.root),
        Checkpoint("cluster.example", 7, b"s" * 32),
    ):
        with pytest.raises(Wrong):
            policy().check(Note(other, signed.lines), "cluster.example")


def test_a_policy_asks_for_the_log_and_enough_whole_witnesses() -> None:
    policy().check(note(LOG, *WITNESSES[1:]), "cluster.example")
    tree = Checkpoint("cluster.example/3", 7, b"r" * 32)
    policy().check(note(LOG, *WITNESSES[1:], checkpoint=tree), "cluster.example")
    few = note(LOG, *WITNESSES[1:])
    half = Note(CHECKPOINT, few.lines[:-1])
    for wanting, why in [
        (note(*WITNESSES), "not signed by the log"),
        (note(LOG, WITNESSES[0]), "as many witnesses"),
        (half, "as many witnesses"),
        (Note(CHECKPOINT, few.lines[1:]), "not signed by the log"),
        (Note(CHECKPOINT, (*few.lines, few.lines[-1])), "twice"),
    ]:
        with pytest.raises(Wrong, match=why):
            policy().check(wanting, "cluster.example")
    with pytest.raises(Wrong, match="another log"):
        policy().check(note(LOG, *WITNESSES), "cluster.exam")
    other = Signer.log("cluster.example", b"x" * 32)
    with pytest.raises(Wrong, match="not signed by the log"):
        policy().check(note(other, *WITNESSES), "cluster.example")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "one quorum"),
        ("quorum none\nquorum none", "one quorum"),
        ("quorum w", "line 1"),
        ("witness none {w}\nquorum none", "line 1"),
        ("witness w {w}\nwitness w {v}\nquorum w", "line 2"),
        ("witness w {w}\nwitness v {w}\nquorum w", "each key once"),
        ("witness w {w}\ngroup g 2 w\nquorum g", "line 2"),
        ("witness w {w}\ngroup g 0 w\nquorum g", "line 2"),
        ("witness w {w}\ngroup g any w w\nquorum g", "line 2"),
        ("witness w {w}\ngroup g any\nquorum g", "line 2"),
        ("witness w {w}\ngroup g any w\ngroup h any w\nquorum g", "line 3"),
        ("group g any g\nquorum g", "line 1"),
        ("witness w {l}\nquorum w", "type"),
        ("log {w}\nquorum none", "type"),
        ("nonsense\nquorum none", "line 1"),
        ("log x\nquorum none", "line 1"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(text: str, why: str) -> None:
    names = {"w": WITNESSES[0].keys[0], "v": WITNESSES[1].keys[0], "l": LOG.keys[0]}
    with pytest.raises(Wrong, match=why):
        Policy.parse(text.format(**names))
    assert Policy.parse("quorum none").met([])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("\n\n", "\n"),
        lambda t: t[:-1],
        lambda t: t + "\n",
        lambda t: t.replace("— c", "- c"),
        lambda t: t.replace("\n7\n", "\n07\n"),
        lambda t: t.replace("\n7\n", "\n-7\n"),
        lambda t: t.replace("\n7\n", "\n7\r\n"),
        lambda t: t.replace("\n7\n", "\n7\nextension\n"),
        lambda t: t.replace("=\n", "\n", 1),
        lambda t: t.partition("\n\n")[0] + "\n\n",
        lambda t: t + t.rpartition("\n\n")[2] * 20,
        lambda t: "",
    ],
)
def test_what_is_no_note_is_refused(change: object) -> None:
    text = str(note(LOG, *WITNESSES))
    with pytest.raises(Wrong):
        Note.parse(change(text))  # type: ignore[operator]


def test_a_witness_s_answer_is_lines() -> None:
    assert len(list(signature_lines(WITNESSES[0].sign(CHECKPOINT, NOW)))) == 2
    for wrong in ("", "\n", "x\n", WITNESSES[0].sign(CHECKPOINT, NOW)[:-1]):
        with pytest.raises(Wrong):
            list(signature_lines(wrong))
