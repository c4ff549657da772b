from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from epicrisis.cli.schema import schema
from epicrisis.codec import Catalogue


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(schema, list(words))
    return result.exit_code, result.output


def test_list_shows_every_release_with_its_id() -> None:
    code, out = run("list", "--format", "json")
    rows = json.loads(out)
    assert code == 0
    assert {"type": "envelope", "version": 1, "id": Catalogue.load().envelope.id} in rows
    assert len(rows) == 1 + sum(1 for _ in Catalogue.load().releases())


def test_check_is_content_with_this_release() -> None:
    code, out = run("check")
    assert code == 0
    assert "agree" in out


def test_check_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalogue, "problems", lambda _: ["chart.X v2 is not released"])
    code, out = run("check")
    assert code == 1
    assert "chart.X v2 is not released" in out


def test_release_writes_nothing_where_all_is_released() -> None:
    code, out = run("release")
    assert code == 0
    assert "released " not in out.split("agree")[0].replace("released schemas", "")
