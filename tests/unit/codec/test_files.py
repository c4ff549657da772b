"""Bytes in are bytes out, for every file of public test data."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from epicrisis.codec.dictionaries import MAX_BODY
from epicrisis.codec.measure import resources
from schemas.chart import ResourceRecorded
from schemas.common import Coding
from tests.unit.codec.events import codec, data_key, meta_of

FOLDERS = [
    "de-isik", "fhir-validator-cases", "hl7-r4-examples", "hl7v2", "ihe-balp", "kr-core", "synthea-2019-r4",
    "synthea-2021-uscore", "us-core-examples",
]  # fmt: skip


def bodies(folder: Path) -> list[tuple[str, bytes]]:
    """Every file as it is, and every resource in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    whole = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in paths]
    return [("Binary", data) for data in whole if len(data) < MAX_BODY - 100] + list(
        resources(path for path in paths if ".json" in path.name)
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_resource_comes_back_byte_for_byte(folder: str, shared_data: Path) -> None:
    ours, key, count = codec(), data_key(), 0
    for kind, raw in bodies(shared_data / folder):
        body = ResourceRecorded(
            resource_type=kind, resource_id="1", status="", category=Coding(), code=Coding(), date="", encounter_id="",
            resource=raw,
        )  # fmt: skip
        value = ours.encode(meta_of(body, stream=f"{kind}/1"), body, key)
        assert ours.unseal(ours.open(value), key).resource == raw
        count += 1
    assert count > 10
