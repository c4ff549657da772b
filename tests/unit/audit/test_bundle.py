"""A bundle proves a whole history, or that there is none, on a machine that has nothing but the verifier."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from epicrisis.audit.verifier.__main__ import main
from epicrisis.audit.verifier.bundle import NAMES, read
from epicrisis.audit.verifier.check import check, check_agreement
from epicrisis.audit.verifier.merkle import Wrong
from epicrisis.errors import Refused
from tests.unit.audit.bundles import ADA, BEN, NOBODY, bundle_of, filled, records, trusted
from tests.unit.audit.ledger import ORIGIN, Ledger


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return filled(Ledger(witnesses=2, enough=2))


def test_a_bundle_proves_all_events_of_a_patient(ledger: Ledger) -> None:
    verdict = check(bundle_of(ledger, ADA), trusted(ledger))
    assert (verdict.subject, verdict.origin, verdict.head, verdict.time) == (ADA, ORIGIN, 2, "2026-03-01T08:03:00Z")
    assert [event.envelope.seq for event in verdict.events if event.envelope] == [1, 2, 3, 4, 5, 6]
    assert len(verdict.signed) == 6
    assert verdict.trusted


def test_a_bundle_proves_that_there_is_nothing(ledger: Ledger) -> None:
    verdict = check(bundle_of(ledger, NOBODY), trusted(ledger))
    assert (verdict.events, verdict.partition) == ((), None)
    assert check(bundle_of(published(), NOBODY)).events == ()


def published() -> Ledger:
    """A cluster without any event."""
    empty = Ledger()
    empty.publish()
    return empty


def test_an_erased_history_still_shows_that_it_was_there(ledger: Ledger) -> None:
    raw = bundle_of(ledger, ADA, erased=True)
    verdict = check(raw, trusted(ledger))
    assert [event.envelope for event in verdict.events] == [None] * 6
    assert [event.link for event in verdict.events] == [e.link for e in check(bundle_of(ledger, ADA)).events]
    assert b"chart" not in read(raw)["events.ndjson"] + read(raw)["index.html"]


def test_what_came_after_the_checkpoint_is_left_out() -> None:
    ledger = filled(Ledger(witnesses=1, enough=1))
    ledger.add(ADA, b"not yet")
    assert len(check(bundle_of(ledger, ADA)).events) == 6
    ledger.checkpoints.publish()
    assert len(check(bundle_of(ledger, ADA)).events) == 6, "nobody has cosigned it yet"


def test_without_a_trusted_checkpoint_nothing_is_exported() -> None:
    ledger = Ledger(witnesses=1, enough=1)
    ledger.checkpoints.publish()
    with pytest.raises(Refused, match="no checkpoint yet"):
        bundle_of(ledger, ADA)


def test_a_ledger_that_was_changed_is_not_exported() -> None:
    ledger = filled(Ledger())
    first = ledger.histories[ADA][0]
    ledger.histories[ADA][0] = first._replace(value=records(ADA)[0])
    with pytest.raises(Refused, match="do not agree"):
        bundle_of(ledger, ADA)
    del ledger.histories[ADA][0:]
    with pytest.raises(Refused, match="another history of this patient"):
        bundle_of(ledger, ADA)


def test_any_zip_program_opens_it_and_finds_a_page_without_scripts(ledger: Ledger) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle_of(ledger, ADA))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(NAMES)
        page = archive.read("index.html").decode()
    assert "<b>6</b> events" in page
    assert "chart.ResourceRecorded" in page
    assert "script" not in page.lower()
    assert "http" not in page.lower().replace("http-equiv", "")


def test_two_bundles_of_one_log_agree(ledger: Ledger) -> None:
    before = check(bundle_of(ledger, ADA))
    other = filled(Ledger(witnesses=2, enough=2), 2)
    for older, newer in [(before, check(bundle_of(ledger, BEN))), (check(bundle_of(other, ADA)), before)]:
        check_agreement(older, newer)
        check_agreement(newer, older)


# The command


def verified(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_copied_as_one_file_says_yes_far_from_here(ledger: Ledger, tmp_path: Path) -> None:
    program, file, policy = tmp_path / "verify.pyz", tmp_path / "ada.zip", tmp_path / "trusted.policy"
    assert main(["--copy", str(program)]) == 0
    file.write_bytes(bundle_of(ledger, ADA))
    policy.write_text(ledger.records.files[_digest(ledger, "policy.txt")], encoding="utf-8")
    done = verified(program, file, "--policy", policy)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"YES: all 6 events of patient {ADA}\n")
    assert "epicrisis" not in str([name for name in sys.modules if name.startswith("epicrisis_verify")])


def test_the_command_names_what_is_wrong(ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, policy = tmp_path / "ada.zip", tmp_path / "trusted.policy"
    file.write_bytes(bundle_of(ledger, ADA))
    policy.write_text(ledger.records.files[_digest(ledger, "policy.txt")], encoding="utf-8")
    assert main([str(file)]) == 3
    assert "RIGHT IN ITSELF, but by keys that came with the file" in capsys.readouterr().out
    words = [str(file), "--policy", str(policy), "--not-before"]
    assert main([*words, "2026-03-01T08:03:00Z"]) == 0
    assert main([*words, "2026-03-01T08:04:00"]) == 1
    assert "older than asked for" in capsys.readouterr().out
    assert main([str(file), str(file), "--policy", str(policy)]) == 0
    assert main([str(tmp_path / "none.zip")]) == 1
    assert main([str(file), "--policy", str(file)]) == 1
    file.write_bytes(file.read_bytes()[:-1])
    assert main([str(file)]) == 1
    assert "NO: not a valid bundle" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([])


def _digest(ledger: Ledger, name: str) -> str:
    from epicrisis.audit.verifier.history import Head

    return Head.parse(ledger.records.heads[-1]).files[name]


@pytest.mark.parametrize("raw", [b"", b"PK", b"PK\5\6" + bytes(18), b"\xff" * 10_000, b"PK\3\4" + b"\xff" * 200])
def test_garbage_is_not_a_valid_bundle(raw: bytes) -> None:
    with pytest.raises(Wrong, match="not a valid bundle"):
        check(raw)


def test_the_verifier_needs_nothing_but_python_and_cryptography() -> None:
    for file in Path(check.__code__.co_filename).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                assert name.split(".")[0] in {*sys.stdlib_module_names, "cryptography"}, f"{file.name}: {name}"
