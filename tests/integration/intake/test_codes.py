"""Intake: local codes."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from epicrisis.errors import Refused
from epicrisis.fhir.codes import Codes
from epicrisis.intake import Receipt
from tests.integration.intake.house import House, dies
from tests.kernel_support import bundle, condition, observation, patient

pytestmark = pytest.mark.servers
LAB = "urn:oid:2.999.7.1"
POTASSIUM = ("http://loinc.org", "2823-3", "Potassium")


def coded(*codes: str, of: str = "k1") -> bytes:
    """A patient with an Observation under the first of these local codes, and a Condition under the last."""
    observed, diagnosed = ({"coding": [{"system": LAB, "code": code}]} for code in (codes[0], codes[-1]))
    about = f"Patient/{of}"
    return bundle(
        patient(of, number=of),
        observation(f"o-{of}", to=about) | {"code": observed},
        condition(f"c-{of}", to=about) | {"code": diagnosed},
    )


def codes_of(house: House, receipt: Receipt) -> list[tuple[str, str]]:
    bodies = [body for *_, body in house.events(receipt.message) if hasattr(body, "code")]
    return [(body.code.token, body.code.local) for body in bodies]


def listed(house: House) -> list[tuple[str, str, int]]:
    return [(one.system, one.code, one.messages) for one in house.inbox.unmapped() if one.operator == house.own]


def test_a_local_code_is_a_standard_fact_and_the_bytes_stay_as_sent(house: House) -> None:
    house.codes = Codes([(LAB, "K", *POTASSIUM)])
    receipt = house.receive(coded("K"))
    assert codes_of(house, receipt) == [("http://loinc.org|2823-3", f"{LAB}|K")] * 2
    assert all(b'"code": "K"' in body.resource for *_, body in house.events(receipt.message) if hasattr(body, "code"))
    assert (receipt.unmapped, listed(house)) == (0, [])


def test_an_unmapped_code_is_let_in_marked_and_listed_once_a_message(house: House) -> None:
    receipt = house.receive(coded("K", "NEW"))
    assert codes_of(house, receipt) == [(f"{LAB}|K", f"{LAB}|K"), (f"{LAB}|NEW", f"{LAB}|NEW")]
    assert receipt.unmapped == 2
    again = house.receive(coded("K", "NEW"))
    assert (again.repeated, again.unmapped) == (True, 2)
    house.receive(coded("NEW", of="k2"))
    assert listed(house) == [(LAB, "NEW", 2), (LAB, "K", 1)]
    with pytest.raises(Refused):
        house.receive(bundle(patient("k3"), observation("o-k3") | {"code": {"coding": [{"code": "X"}]}}))
    assert len(listed(house)) == 2


def test_what_is_no_code_is_not_repeated_in_the_list(house: House) -> None:
    house.receive(coded("Anna Example, born 1971, lives in a street with a very long name, number 17"))
    assert listed(house) == [(LAB, "(no code: too long)", 1)]


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("by", ["recovery", "repeat"])
def test_a_message_is_finished_by_the_code_map_that_it_was_begun_with(house: House, at: int, by: str) -> None:
    """The map was changed, and the process killed after a part was appended."""
    house.codes = Codes([(LAB, "K", *POTASSIUM)])
    dies(house, coded("K", "NEW"), at=at, after=True)
    house.codes = Codes([(LAB, "K", "http://loinc.org", "0-0", "Wrong"), (LAB, "NEW", "http://loinc.org", "1-1", "")])
    if by == "recovery":
        assert house.intake().recover() == 1
    receipt = house.receive(coded("K", "NEW"))
    assert receipt.repeated
    assert codes_of(house, receipt) == [("http://loinc.org|2823-3", f"{LAB}|K"), (f"{LAB}|NEW", f"{LAB}|NEW")]
    assert listed(house) == [(LAB, "NEW", 1)]
    assert codes_of(house, house.receive(coded("K", "NEW", of="k2")))[1][0] == "http://loinc.org|1-1"


def test_the_list_of_an_operator_has_an_end(shared_parts: tuple[Any, ...]) -> None:
    house = House(*shared_parts)
    assert house.settings
    with psycopg.connect(house.settings.dsn_for("intake", "intake")) as connection:
        connection.execute(
            "INSERT INTO inbox.unmapped SELECT %s, 's', 'c' || n, 1, now(), now() FROM generate_series(1, 10000) AS n",
            [house.own],
        )
    house.receive(coded("NEW", "NEWER"))
    assert sum(one[1].startswith("c") for one in listed(house)) == 10_000
    assert ("", "", 1) in listed(house)
    with psycopg.connect(house.settings.dsn_for("intake", "reader")) as connection:
        assert connection.execute(
            "SELECT count(*) FROM inbox.unmapped WHERE operator = %s", [house.own]
        ).fetchone() == (10_001,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM inbox.message")
