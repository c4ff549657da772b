"""Facts off the parsed resources."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from epicrisis.fhir import values
from epicrisis.fhir.gate import Gate


def parsed(text: str) -> Any:
    return Gate().check(text.encode()).parsed


def test_codes_and_texts() -> None:
    code = '{"coding":[{"system":"http://s","code":"1"},{"code":"2","display":"two"}]}'
    condition = parsed('{"resourceType":"Condition","subject":{"reference":"Patient/1"},"code":' + code + "}")
    assert values.text(condition.code) == "two"
    assert values.reference(condition.subject) == "Patient/1"
    assert values.absent(condition.severity)
    assert not values.absent(condition.code)
    for nothing in (UNSET, None):
        assert values.text(nothing) is None
        assert values.reference(nothing) is None
        assert values.period(nothing) == (None, None)


def test_a_text_comes_before_displays() -> None:
    basic = parsed('{"resourceType":"Basic","code":{"text":"t","coding":[{"display":"d"}]},"subject":{"display":"x"}}')
    assert values.text(basic.code) == "t"
    assert values.reference(basic.subject) is None


def test_a_period_may_be_open() -> None:
    encounter = parsed(
        '{"resourceType":"Encounter","status":"finished","class":{"code":"A"},"period":{"start":"2020-05"}}'
    )
    assert values.period(encounter.period) == (datetime(2020, 5, 1, tzinfo=UTC), None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020", datetime(2020, 1, 1, tzinfo=UTC)),
        ("2020-02", datetime(2020, 2, 1, tzinfo=UTC)),
        ("2020-02-29", datetime(2020, 2, 29, tzinfo=UTC)),
        ("2020-02-29T10:00:00Z", datetime(2020, 2, 29, 10, tzinfo=UTC)),
        ("2020-02-29T10:00:00.5+02:00", datetime(2020, 2, 29, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2020-02-29T10:00:00.1234567891-00:30", datetime(2020, 2, 29, 10, 30, 0, 123_456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_date_is_the_start_of_its_period_in_utc(text: str, moment: datetime) -> None:
    assert values.instant(text) == moment
    assert values.instant(text).tzinfo is UTC


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_moment_survives_being_written(moment: datetime, minutes: int) -> None:
    aware = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(minutes=minutes)))
    assert values.instant(values.instant_text(aware)) == aware
    assert values.instant(aware.isoformat()) == aware
