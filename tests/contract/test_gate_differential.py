"""The gate against fhir.resources: what that refuses the gate refuses too, or the difference is listed."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.read import open_documents
from tests.unit.fhir.mutants import BROKEN, HARMLESS

# what fhir.resources refuses although FHIR allows it: the kind of change, and why
STRICTER_THERE = {
    "sibling instead of a choice": "its models have no Extension._valueX, and miss a required choice beside `_`",
    "sibling instead of a required value": "as above where the required value is that of an extension",
    "sibling": "as above",
    "null beside a sibling": "its models pad arrays, and refuse a longer sibling",
    "moments": "it has no leap seconds",
    "dates": "Python's calendar",
    "decimals": "it caps the digits of a decimal",
    "references": "it wants a URL without a bar",
}


def _passes_there(raw: bytes) -> bool:
    try:
        get_fhir_model_class(json.loads(raw)["resourceType"]).model_validate_json(raw)
    except Exception:  # pydantic raises many kinds, and TypeErrors of its own
        return False
    return True


def _passes_here(raw: bytes) -> bool:
    try:
        Gate().check(raw)
    except Malformed:
        return False
    return True


@pytest.fixture(scope="module")
def sample(shared_data: Path) -> list[bytes]:
    paths = [p for p in sorted(shared_data.rglob("*.json*")) if "index" not in p.name and p.stat().st_size < 6_000]
    paths = [p for p in paths if "fhir-validator-cases" not in p.parts]
    return [next(open_documents(p)).raw for p in Random(8).sample(paths, 60)]


@pytest.mark.parametrize("kind", [*BROKEN, *HARMLESS])
def test_what_fhir_resources_refuses_the_gate_refuses(kind: str, sample: list[bytes]) -> None:
    random = Random(kind)
    make = BROKEN.get(kind) or HARMLESS[kind]
    for base in random.sample(sample, 12):
        doc: dict[str, Any] = json.loads(base)
        raw = make(doc, random)
        if raw is not None and not _passes_there(raw) and kind not in STRICTER_THERE:
            assert not _passes_here(raw)


def test_what_fhir_resources_refuses_of_the_validator_cases_the_gate_refuses(shared_data: Path) -> None:
    here_only = []
    for path in sorted((shared_data / "fhir-validator-cases").rglob("*.json*")):
        raw = next(open_documents(path)).raw
        try:
            refused = "index" not in path.name and not _passes_there(raw)
        except UnicodeDecodeError:
            refused = True
        if refused and _passes_here(raw):
            here_only.append(path.name)
    assert here_only == []
