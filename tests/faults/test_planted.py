"""The planted bugs: every patch still applies and names a test that is there; some are tried, others each day."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.faults.planted import Planted, all_planted, applies, try_out
from tests.infra import CHECKOUT

PLANTED = all_planted()
QUICK = [p for p in PLANTED if p.test.startswith("sim ") and int(p.test.split()[1]) <= 600]
TRIED = 3
"""So many a day, in turn: all of them is `make planted`."""


def test_there_are_enough() -> None:
    assert len(PLANTED) >= 25
    assert all(p.what and p.test for p in PLANTED)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.name)
def test_a_patch_still_applies(planted: Planted) -> None:
    assert applies(planted) == ""


@pytest.mark.parametrize("planted", [p for p in PLANTED if "::" in p.test], ids=lambda p: p.name)
def test_the_test_that_it_names_is_there(planted: Planted) -> None:
    path, _, name = planted.test.partition("::")
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {name.partition('[')[0]}\(", text, re.MULTILINE)


def todays() -> list[Planted]:
    first = datetime.now(UTC).date().toordinal() * TRIED
    return [QUICK[(first + n) % len(QUICK)] for n in range(TRIED)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("planted", todays(), ids=lambda p: p.name)
def test_a_planted_bug_is_caught(planted: Planted) -> None:
    verdict = try_out(planted)
    assert verdict.caught, f"{planted.what}: {planted.test} did not notice ({verdict.said})"
