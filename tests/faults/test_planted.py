"""The planted bugs: every patch still applies and names a test that is there; some are tried, others after a change."""

from __future__ import annotations

import re
from difflib import unified_diff
from hashlib import sha256
from pathlib import Path

import pytest

from tests.faults.planted import LIMIT, Planted, all_planted, applies, read, try_out
from tests.infra import CHECKOUT

PLANTED = all_planted()
QUICK = [p for p in PLANTED if p.test.startswith("sim ") and int(p.test.split()[1]) <= 600]
TRIED = 3
"""So many each time: all of them is `make planted`."""
WRITING = "tests/unit/doors/test_writing.py"


def test_all_of_them_are_there() -> None:
    page = (CHECKOUT / "docs" / "explanation" / "simulation.md").read_text(encoding="utf-8")
    assert f"break the code in {len(PLANTED)} ways" in page


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.name)
def test_a_patch_still_applies(planted: Planted) -> None:
    assert applies(planted) == ""


@pytest.mark.parametrize("planted", [p for p in PLANTED if not p.test.startswith("sim ")], ids=lambda p: p.name)
def test_the_test_that_it_names_is_there(planted: Planted) -> None:
    path, _, name = planted.test.partition("::")
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {name.partition('[')[0]}\(", text, re.MULTILINE)


def some() -> list[Planted]:
    """Others for other code; for the same code the same, so that a failure can be seen again."""
    code = sha256()
    for path in sorted((CHECKOUT / "epicrisis").rglob("*.py")):
        code.update(path.read_bytes())
    return sorted(QUICK, key=lambda one: sha256(code.digest() + one.name.encode()).digest())[:TRIED]


@pytest.mark.slow
@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("planted", some(), ids=lambda p: p.name)
def test_a_planted_bug_is_caught(planted: Planted) -> None:
    verdict = try_out(planted)
    assert verdict.caught, f"{planted.what}: {planted.test} did not notice ({verdict.said})"


@pytest.mark.parametrize(
    ("file", "line", "test"),
    [
        ("epicrisis/relay.py", "# nothing is broken", "sim 1"),
        ("epicrisis/worker.py", "Worker._read = None  # it falls over", "sim 1"),
        (WRITING, "House = None  # its fixture fails", f"{WRITING}::test_prefer_says_what_comes_back"),
    ],
)
def test_nobody_has_noticed_where(file: str, line: str, test: str, tmp_path: Path) -> None:
    old = (CHECKOUT / file).read_text(encoding="utf-8").splitlines(keepends=True)
    diff = unified_diff(old, [*old, f"{line}\n"], f"a/{file}", f"b/{file}")
    path = tmp_path / "made.patch"
    path.write_text(f"What: {line}\nTest: {test}\n\n{''.join(diff)}", encoding="utf-8")
    verdict = try_out(read(path))
    assert not verdict.caught, verdict.said
    assert not verdict.said.startswith("does not apply")
