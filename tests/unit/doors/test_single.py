"""One resource as a transaction: what is handed to intake is what the gate will read when somebody else finishes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from epicrisis.doors.fhir_http import single
from epicrisis.doors.fhir_http.single import Request
from epicrisis.fhir.gate import Gate
from epicrisis.fhir.outcome import Problem
from tests.kernel_support import observation, patient

INDENTED = json.dumps(patient(), indent=2).encode()
BUNDLE = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient()}]}).encode()


@pytest.mark.parametrize("raw", [json.dumps(observation()).encode(), INDENTED, BUNDLE, None])
@pytest.mark.parametrize(
    "request_",
    [
        Request(method="POST", url="Patient", if_none_exist="identifier=urn%3An%7C1"),
        Request(method="PUT", url="Patient/p1", if_match='W/"3"'),
        Request(method="PUT", url="Patient?identifier=urn%3An%7C%22%5C%C3%A9"),
        Request(method="DELETE", url="Patient/p1"),
    ],
)
def test_the_transaction_reads_as_it_was_handed_on(raw: bytes | None, request_: Request) -> None:
    gate = Gate()
    whole = single.transaction(request_, raw)
    (read,) = gate.check(whole).entries
    (handed,) = single.checked(whole, request_, None if raw is None else gate.check(raw)).entries
    for name in ("index", "method", "url", "if_none_exist", "if_match", "raw", "resource_type"):
        assert getattr(read, name) == getattr(handed, name), name
    assert type(read.parsed) is type(handed.parsed)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("Bundle.entry[0].resource.name[1]", "Patient.name[1]"),
        ("Bundle.entry[0]", "Patient"),
        ("Bundle.entry[0].request.url", "Patient"),
        ("", ""),
    ],
)
def test_a_place_is_told_as_its_sender_knows_it(place: str, expected: str) -> None:
    problem = Problem(severity="error", code="value", expression=place, text=f"{place}: it is wrong")
    told = single.problem_of(problem, "Patient")
    assert (told.expression, told.text) == (expected, f"{expected}: it is wrong")


def test_conditions_are_written_one_way() -> None:
    def asked(header: str = "", **query: Any) -> str:
        call: Any = type("Call", (), {"headers": {"if-none-exist": header}, "query": list(query.items())})
        return single.if_none_exist(call)

    assert asked("identifier=urn:n|a b") == asked("?identifier=urn%3An%7Ca+b") == "identifier=urn%3An%7Ca+b"
    assert asked(identifier="urn:n|1", _format="json") == "identifier=urn%3An%7C1"
    assert asked(_format="json") == ""
