"""The door's OpenAPI description, and schemathesis against it."""

from __future__ import annotations

from epicrisis.doors.fhir_http.openapi import description
from epicrisis.fhir.spec import resource_types
from tests.fuzz.http import fuzz
from tests.unit.doors.support import BASE, House


def test_the_description_has_every_route_and_no_other() -> None:
    house = House()
    found = house.ask("GET", "/openapi.json").json()
    assert found["servers"] == [{"url": BASE}]
    described = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert described == {(one.method, one.path) for one in house.interactions}
    assert found["paths"]["/{type}"]["post"]["parameters"][0]["schema"]["enum"] == list(resource_types())
    assert found == description(house.interactions, BASE)


def test_a_short_fuzz_of_writing_finds_no_500_and_every_error_is_an_operation_outcome() -> None:
    house = House()
    assert fuzz(house.client.app, "Bearer charite", 3) == len(house.interactions) - 1
