"""How queries are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import epicrisis

QUERIES = sorted(Path(epicrisis.__file__).parent.rglob("queries.sql"))
FOLDERS = sorted({path.parent for path in Path(epicrisis.__file__).parent.rglob("*.sql")})


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.parts[-3])
def test_lists_of_bytes_and_text_are_sent_in_binary(path: Path) -> None:
    written_as_text = re.findall(r"%\(\w+\)s::(?:text|bytea|jsonb|timestamptz)\[\]", path.read_text(encoding="utf-8"))
    assert written_as_text == [], "write %(name)b: as text, every element is escaped, twice"


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.parts[-3])
def test_a_value_is_written_in_one_format_throughout_its_query(path: Path) -> None:
    for query in path.read_text(encoding="utf-8").split("\n-- "):
        formats = dict(re.findall(r"%\((\w+)\)(\w)", query))
        mixed = {name for name, format in re.findall(r"%\((\w+)\)(\w)", query) if formats[name] != format}
        assert mixed == set(), query.partition(":")[0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parts[-2])
def test_ddl_is_numbered_in_the_order_in_which_databases_have_it(folder: Path) -> None:
    names = sorted(path.name for path in folder.glob("*.sql") if path.name != "queries.sql")
    assert [name[:3] for name in names] == [f"{n:02}_" for n in range(1, len(names) + 1)], "databases keep numbers"
