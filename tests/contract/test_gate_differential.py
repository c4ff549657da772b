"""The gate against fhir.resources: what that refuses the gate refuses too, or the difference is listed."""

import json
import re
from pathlib import Path
from random import Random

import pytest
from fhir.resources.R4B import get_fhir_model_class

from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.read import open_documents
from tests.unit.fhir.mutants import BROKEN, HARMLESS

# fhir.resources is wrong to refuse these (https://hl7.org/fhir/R4/json.html#primitive lets a `_field` stand alone)
WRONG_THERE = [
    re.compile(r"\b_value\w+\s+Extra inputs are not permitted"),  # its Extension knows no `_valueX`
    re.compile(r"Expect any of field value from this list"),  # a required choice that is given by its `_field` alone
]


def _refusal_there(raw: bytes) -> str | None:
    try:
        get_fhir_model_class(json.loads(raw)["resourceType"]).model_validate_json(raw)
    except Exception as error:  # pydantic raises many kinds, and some TypeErrors of its own
        return str(error) or type(error).__name__
    return None


def _passes_here(raw: bytes) -> bool:
    try:
        Gate().check(raw)
    except Malformed:
        return False
    return True


def _agree(raw: bytes) -> None:
    there = _refusal_there(raw)
    if there and _passes_here(raw):
        assert any(reason.search(there) for reason in WRONG_THERE), there


@pytest.fixture(scope="module")
def sample(shared_data: Path) -> list[bytes]:
    paths = [p for p in sorted(shared_data.rglob("*.json*")) if "index" not in p.name and p.stat().st_size < 6_000]
    paths = [p for p in paths if "fhir-validator-cases" not in p.parts]
    return [next(open_documents(p)).raw for p in Random(8).sample(paths, 80)]


@pytest.mark.parametrize("kind", [*BROKEN, *HARMLESS])
def test_what_fhir_resources_refuses_the_gate_refuses(kind: str, sample: list[bytes]) -> None:
    random = Random(kind)
    make = BROKEN.get(kind) or HARMLESS[kind]
    for base in random.sample(sample, 30):
        if raw := make(json.loads(base), random):
            _agree(raw)


def test_what_fhir_resources_refuses_of_the_validator_cases_the_gate_refuses(shared_data: Path) -> None:
    paths = [p for p in sorted((shared_data / "fhir-validator-cases").rglob("*.json*")) if "index" not in p.name]
    assert len(paths) > 90
    for path in paths:
        _agree(next(open_documents(path)).raw)


def test_this_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b'{"resourceType":"Patient","bogus":1}'
    _agree(raw)
    monkeypatch.setattr(Gate, "check", lambda *_: None)
    with pytest.raises(AssertionError, match="Extra inputs"):
        _agree(raw)
