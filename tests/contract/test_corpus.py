"""Every refused case is refused as it always was; and a short fuzz of everything that takes bytes from outside."""

from __future__ import annotations

import tomllib
from random import Random

import pytest

from epicrisis.errors import Malformed, TooLarge
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.limits import MIB, Limits
from epicrisis.fhir.problems import code_of, problems
from epicrisis.fhir.rules import RULES
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import CORPUS, TARGETS

EXPECTED = tomllib.loads((CORPUS / "gate" / "expected.toml").read_text("utf-8"))
TOO_MUCH_FOR_A_FILE = {"too-large", "too-long"}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_refused_case_is_refused_by_its_rule_at_its_place(name: str) -> None:
    raw = (CORPUS / "gate" / name).read_bytes()
    with pytest.raises(Malformed) as refusal:
        Gate().check(raw)
    found = {"rule": refusal.value.rule, "code": code_of(refusal.value), "where": refusal.value.where}
    assert found == EXPECTED[name]
    assert EXPECTED[name]["code"] in {problem.code for problem in problems(raw)}


def test_every_rule_has_a_case() -> None:
    assert {path.name for path in (CORPUS / "gate").glob("*.json")} == set(EXPECTED)
    assert {case["rule"] for case in EXPECTED.values()} | TOO_MUCH_FOR_A_FILE | {"other"} == set(RULES)


def test_what_is_too_much_for_a_file_is_refused_by_its_rule() -> None:
    raw = b'{"resourceType":"Patient","name":[{"family":"' + b"x" * (MIB + 1) + b'"}]}'
    with pytest.raises(TooLarge):
        Gate().check(raw)
    with pytest.raises(Malformed) as refusal:
        Gate(Limits(resource=2 * MIB)).check(raw)
    assert refusal.value.rule == "too-long"


def test_what_was_found_once_stays_mended() -> None:
    for path in sorted((CORPUS / "found").glob("*-*")):
        TARGETS[path.name.partition("-")[0]].run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_fuzz_finds_nothing(name: str) -> None:
    target, random = TARGETS[name], Random(name)
    seeds = target.seeds()
    for raw in (*seeds, *(mutated(seeds, random) for _ in range(target.short))):
        target.run(raw)
