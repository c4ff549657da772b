"""Planted bugs: each ``planted/*.patch`` breaks the code in one way, and names the test that must notice.

python -m tests.faults.planted              all of them, as a table; exit code 1 where one is not caught
python -m tests.faults.planted NAME ...     some

A patch begins with ``What:`` (what is broken) and ``Test:``, then comes a unified diff against the checkout, as
``git apply`` takes it. The test is a pytest node id, or ``sim N``: N seeds of the simulation, one of which must tell of
a violation. Where a process ends by itself instead, nobody has noticed anything, unless that is what must be noticed:
``sim N KeyError``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.infra import CHECKOUT

FOLDER = CHECKOUT / "tests" / "faults" / "planted"
COPIED = ("epicrisis", "schemas", "services", "projections", "tests", "docs", "pyproject.toml", "README.md")
LIMIT = 600


@dataclass(frozen=True)
class Planted:
    """A patch and what must catch it."""

    name: str
    what: str
    test: str
    path: Path


@dataclass(frozen=True)
class Verdict:
    """What came of it: ``caught`` with the first words of who caught it."""

    planted: Planted
    caught: bool
    said: str
    seconds: float


def all_planted() -> list[Planted]:
    """Every patch, by name."""
    return [read(path) for path in sorted(FOLDER.glob("*.patch"))]


def read(path: Path) -> Planted:
    """A patch's header."""
    found = dict(re.findall(r"^(What|Test): (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE))
    return Planted(path.stem, found["What"], found["Test"], path)


def applies(planted: Planted, tree: Path = CHECKOUT) -> str:
    """Empty where the patch still applies, else why it does not."""
    done = _git(tree, "apply", "--check", str(planted.path))
    return "" if done.returncode == 0 else done.stderr.strip()


def copy_to(folder: Path) -> None:
    """The code and its tests, without what running them has left."""
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, folder / name)


def try_out(planted: Planted) -> Verdict:
    """Plant a bug in a copy, run its test there."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted") as made:
        tree = Path(made)
        copy_to(tree)
        done = _git(tree, "apply", str(planted.path))
        if done.returncode:
            return Verdict(planted, False, f"does not apply: {done.stderr.strip()}", time.monotonic() - began)
        try:
            caught, said = _simulate(tree, planted) if planted.test.startswith("sim ") else _pytest(tree, planted)
        except subprocess.TimeoutExpired:
            caught, said = False, f"not within {LIMIT} s"
    return Verdict(planted, caught, said, time.monotonic() - began)


def _simulate(tree: Path, planted: Planted) -> tuple[bool, str]:
    _, seeds, *ends = planted.test.split()
    done = _python(tree, "-m", "tests.faults.simulation", "--seeds", seeds, "--stop-at", "1")
    found = re.search(r"^seed \d+: (\w+): .*$", done.stderr, re.MULTILINE)
    if done.returncode == 1 and found:
        return found[1] == (ends[0] if ends else "Violation"), found[0]
    return False, _last(done) if done.returncode else f"{seeds} seeds, and all is well"


def _pytest(tree: Path, planted: Planted) -> tuple[bool, str]:
    done = _python(tree, "-m", "pytest", "-q", "-x", "-p", "no:randomly", planted.test)
    found = re.search(r"^E  +(.*)$", done.stdout, re.MULTILINE)
    failed = re.search(r"^FAILED ", done.stdout, re.MULTILINE)  # what a fixture meets is an ERROR
    if done.returncode == 1 and failed and found:
        return True, found[1]
    return False, _last(done)


def _python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {"EPICRISIS_TEST_STATE": str(CHECKOUT / ".epicrisis-test"), **os.environ, **own}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT)


def _git(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    return subprocess.run(["git", *arguments], cwd=tree, env=environment, capture_output=True, text=True)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def main(names: list[str]) -> int:
    """Try some or all, and print the table."""
    chosen = [p for p in all_planted() if not names or p.name in names]
    missed = 0
    print(f"{'patch':34} {'caught':7} {'seconds':>7}  test")
    for planted in chosen:
        verdict = try_out(planted)
        missed += not verdict.caught
        print(f"{planted.name:34} {'yes' if verdict.caught else 'NO':7} {verdict.seconds:7.1f}  {planted.test}")
        print(f"{'':34} {planted.what}\n{'':34} -> {verdict.said[:160]}", flush=True)
    print(f"{len(chosen)} planted, {len(chosen) - missed} caught, {missed} not caught")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
