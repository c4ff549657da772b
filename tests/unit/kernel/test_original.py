"""The sealed original of a message: every byte comes back."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from epicrisis.codec import MemoryKeyStore
from epicrisis.fhir.gate import Gate
from epicrisis.intake.check import check
from epicrisis.intake.inbox import Plain, seal_original, unseal_original, unseal_source

BUNDLE = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "resource": {"resourceType": "Patient", "name": [{"family": "Öz"}], "multipleBirthInteger": 2},
            "request": {"method": "POST", "url": "Patient"},
        }
    ],
}


def kept(raw: bytes, source: bytes = b"") -> tuple[int, bytes, bytes]:
    """How long it is sealed, and what comes back."""
    checked = check(Gate(), raw)
    message = uuid4()
    key = MemoryKeyStore().for_subjects({message})[message]
    sealed = seal_original(Plain(raw, checked.raw, checked.unit, source), key, message)
    return len(sealed), unseal_original(sealed, key, message), unseal_source(sealed, key, message)


@pytest.mark.parametrize("indent", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("end", [b"", b"\n", b" \r\n\t"])
@pytest.mark.parametrize("source", [b"", b"MSH|^~\\&|"])
def test_what_came_comes_back(indent: int | None, end: bytes, source: bytes) -> None:
    raw = json.dumps(BUNDLE, indent=indent, ensure_ascii=False).encode() + end
    assert kept(raw, source)[1:] == (raw, source or raw)


@pytest.mark.parametrize("change", [(b": ", b":  "), (b"\n", b"\r\n"), (b"{\n", b"\n{\n")])
def test_a_layout_of_its_own_comes_back(change: tuple[bytes, bytes]) -> None:
    raw = json.dumps(BUNDLE, indent=2).encode().replace(*change)
    assert kept(raw)[1] == raw


def test_indentation_is_not_kept() -> None:
    raw, message = json.dumps(BUNDLE, indent=2).encode(), uuid4()
    key = MemoryKeyStore().for_subjects({message})[message]
    assert check(Gate(), raw).unit == 2
    assert kept(raw)[0] < len(seal_original(Plain(raw), key, message)) - 10
