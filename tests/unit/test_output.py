"""Rows on stdout: what a person, and what a program, gets to see."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from epicrisis.cli.output import counted, emit

ROWS: list[dict[str, Any]] = [
    {"who": "a", "open": {"0192f000-0000-7000-8000-000000000000": {"text": "flu", "code": None}}},
    {"who": "b"},
]


def shown(format: str, title: str | None = None) -> str:
    out = io.StringIO()
    emit(ROWS, ("who", "open"), format, title=title, out=out)
    return out.getvalue()


def test_a_title_is_never_broken_and_no_line_ends_in_blanks() -> None:
    title = "2 rows of a table that is a good deal narrower than this title"
    lines = shown("table", title).splitlines()
    assert lines[0] == title
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_mapping_is_shown_without_the_signs_of_json() -> None:
    assert "0192f000…: text: flu; code:" in shown("table")


def test_programs_get_a_mapping_as_json() -> None:
    assert json.loads(shown("json"))[0] == ROWS[0]
    assert '""text"": ""flu""' in shown("csv")


@pytest.mark.parametrize(("count", "text"), [(0, "0 messages"), (1, "1 message"), (2, "2 messages")])
def test_one_is_singular(count: int, text: str) -> None:
    assert counted(count, "message") == text
