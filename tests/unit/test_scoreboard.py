"""What the scoreboard says about the run that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.results import WRITTEN, commit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit of what a run writes, and of something else."""
    for name in (*(f"{path}/results.json" if "." not in path else path for path in WRITTEN), "epicrisis/gate.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("committed")
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "all")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_what_the_bench_itself_has_written_does_not_make_a_commit_dirty(checkout: Path) -> None:
    clean = commit(checkout)
    (checkout / "docs/scoreboard/results.json").write_text("figures")
    (checkout / "docs/explanation/scoreboard.md").write_text("page")
    assert commit(checkout) == clean


def test_a_commit_is_dirty_where_code_has_changed(checkout: Path) -> None:
    clean = commit(checkout)
    (checkout / "epicrisis/gate.py").write_text("changed")
    assert commit(checkout) == f"{clean}-dirty"


def test_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path / "none") == "unknown"
