"""The gate against mutants: every kind of damage is refused, every harmless change passes, and the slow pass agrees."""

import json
from pathlib import Path
from random import Random

import pytest

from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.outcome import outcome
from epicrisis.fhir.problems import code_of, problems
from epicrisis.fhir.read import open_documents
from tests.unit.fhir.mutants import BROKEN, HARMLESS

EACH = 40


@pytest.fixture(scope="module")
def valid(shared_data: Path) -> list[bytes]:
    """Valid resources of every published set, and a sample of Synthea's, in a fixed order."""
    gate, found = Gate(), []
    for folder in ("hl7-r4-examples", "us-core-examples", "ihe-balp", "de-isik", "kr-core"):
        for path in sorted((shared_data / folder).rglob("*.json*")):
            raw = next(open_documents(path)).raw
            try:
                checked = gate.check(raw)
            except Malformed:
                continue
            if len(raw) < 40_000 and checked.resource_type not in ("Bundle", "Parameters"):
                found.append(raw)
    bundle = next(iter(sorted((shared_data / "synthea-2019-r4" / "oncology").rglob("*.json*"))))
    entries = gate.check(next(open_documents(bundle)).raw).entries
    return found + [e.raw for e in Random(3).sample(entries, 60) if e.raw]


@pytest.mark.parametrize("kind", BROKEN)
def test_every_kind_of_damage_is_refused(kind: str, valid: list[bytes]) -> None:
    random, gate, made = Random(kind), Gate(), 0
    for base in random.sample(valid, EACH):
        raw = BROKEN[kind](json.loads(base), random)
        if raw is None:
            continue
        made += 1
        with pytest.raises(Malformed) as refusal:
            gate.check(raw)
        assert "breaks a rule of FHIR R4" not in str(refusal.value), "a rule without words"
        found = problems(raw)
        assert found, "the slow pass must see what the gate saw"
        gate.check(outcome(found))
    assert made >= 3, "the sample holds no place for this kind"


@pytest.mark.parametrize("kind", HARMLESS)
def test_every_harmless_change_passes(kind: str, valid: list[bytes]) -> None:
    random, gate, made = Random(kind), Gate(), 0
    for base in random.sample(valid, EACH):
        raw = HARMLESS[kind](json.loads(base), random)
        if raw is not None:
            made += 1
            gate.check(raw)
            assert problems(raw) == []
    assert made >= 3


@pytest.mark.parametrize("kind", sorted(set(BROKEN) - {"trailing", "cut off", "byte order mark", "lone surrogate"}))
def test_a_refusal_names_no_value(kind: str, valid: list[bytes]) -> None:
    """Planted strings stand for names and numbers of persons: none of them may come back."""
    random, gate = Random(kind), Gate()
    for base in random.sample(valid, EACH // 4):
        doc = json.loads(base)
        doc.setdefault("language", "Zyxwvut")
        raw = BROKEN[kind](doc, random)
        if raw is not None:
            with pytest.raises(Malformed) as refusal:
                gate.check(raw)
            said = " ".join([str(refusal.value), *(p.text + p.expression for p in problems(raw))])
            assert not [word for word in ("bogus", "banana", "Zyxwvut", "javascript", "Bogus") if word in said]


BREAKS_THE_JSON = {"cut off", "trailing", "invalid UTF-8", "lone surrogate", "NaN", "byte order mark"}


@pytest.mark.parametrize("seed", range(40))
def test_of_several_mistakes_at_several_places_all_are_listed(seed: int, valid: list[bytes]) -> None:
    random, mutants = Random(seed), list[bytes]()
    while len(mutants) < 3:
        kind = random.choice(sorted(set(BROKEN) - BREAKS_THE_JSON))
        if raw := BROKEN[kind](json.loads(random.choice(valid)), random):
            mutants.append(raw)
    entries = b",".join(b'{"resource":' + raw + b"}" for raw in mutants)
    bundle = b'{"resourceType":"Bundle","type":"collection","entry":[' + entries + b"]}"
    listed = problems(bundle)
    said = {(p.expression, p.code) for p in listed}
    for index, raw in enumerate(mutants):
        for alone in problems(raw):
            place = alone.expression.partition(".")
            where = f"Bundle.entry[{index}].resource{place[1]}{place[2]}"
            assert (where, alone.code) in said, alone
    with pytest.raises(Malformed) as first:
        Gate().check(bundle)
    assert code_of(first.value) in {p.code for p in listed}


def test_these_tests_can_fail(valid: list[bytes]) -> None:
    """An untouched resource put in the place of a mutant passes the gate: the refusals above are no reflex."""
    for base in valid[:EACH]:
        Gate().check(base)
        assert problems(base) == []
