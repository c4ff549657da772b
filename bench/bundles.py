"""FHIR Bundles as input: the public Synthea data where they are, else the simulation's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from epicrisis import simulate
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.read import open_documents

SYNTHEA = "synthea-2019-r4"
FOLDERS = ("infrastructure", "general", "oncology")


class Sent(NamedTuple):
    """A Bundle, who sends it, and how many entries it has."""

    raw: bytes
    operator: str
    clinic: str
    entries: int


def shared_data() -> Path | None:
    """Where the public data are: ``EPICRISIS_SHARED_DATA``, else ``../shared/data`` beside the checkout; or nowhere."""
    path = Path(os.environ.get("EPICRISIS_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    return path if path.is_dir() else None


def synthea(*folders: str) -> list[Path]:
    """The files of these folders, in order; empty where the data are not here."""
    root = shared_data()
    return [] if root is None else [p for f in folders for p in sorted((root / SYNTHEA / f).glob("*.json*"))]


def bundles(entries: int, *folders: str) -> Iterator[Sent]:
    """Bundles of these folders with so many entries, or all; where the data are not here, of the simulated cluster."""
    gate = Gate()
    for raw, operator, clinic in _synthea(*folders) if shared_data() else _simulated(entries):
        found = len(gate.check(raw).entries)
        yield Sent(raw, operator, clinic, found)
        entries -= found
        if entries <= 0:
            return


def alone(entries: int) -> Iterator[Sent]:
    """The same, where each Bundle must stand alone: the simulation's refer to whom others sent. A Patient each."""
    if shared_data():
        yield from bundles(entries, "general")
        return
    for number in range(max(8, entries // 20)):
        full = f"urn:uuid:{UUID(int=number + 1)}"
        patient = {"resourceType": "Patient", "identifier": [{"system": "urn:bench", "value": f"{number}"}]}
        code = {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}
        some = [
            {
                "resourceType": "Observation",
                "status": "final",
                "code": code,
                "subject": {"reference": full},
                "valueQuantity": {"value": 50 + n, "unit": "kg"},
            }
            for n in range(19)
        ]
        made: list[dict[str, Any]] = [
            {"fullUrl": full, "resource": patient, "request": {"method": "POST", "url": "Patient"}}
        ]
        made += [{"resource": one, "request": {"method": "POST", "url": "Observation"}} for one in some]
        raw = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": made}).encode()
        yield Sent(raw, "synthea", "synthea/main", len(made))


def _synthea(*folders: str) -> Iterator[tuple[bytes, str, str]]:
    for path in synthea(*folders):
        for document in open_documents(path):
            yield document.raw, "synthea", "synthea/main"


def _simulated(entries: int) -> Iterator[tuple[bytes, str, str]]:
    for message in simulate.messages(patients=max(20, entries // 40), seed=1):
        yield message.bundle, message.operator, message.clinic
