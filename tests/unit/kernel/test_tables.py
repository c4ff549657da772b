"""What `TableStore` writes by itself is what psycopg would write."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import Format

from epicrisis.projecting.tables import _Numbers

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)


@given(NUMBERS)
def test_an_array_of_numbers_is_written_as_psycopg_does(numbers: list[int]) -> None:
    dumper = psycopg.adapters.get_dumper_by_oid(_Numbers.oid, Format.BINARY)
    assert _Numbers(list).dump(tuple(numbers)) == dumper(list, Transformer()).dump(numbers)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_of_more_than_64_bits_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        _Numbers(list).dump((1, number))
