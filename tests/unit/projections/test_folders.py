"""What all projections have in common: files, tables that fit the rows, and rows that do not depend on arrival."""

from __future__ import annotations

import importlib
import re
import types
import typing
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings

import projections
from epicrisis.event import event_type, is_record
from epicrisis.folding import fold
from epicrisis.projection import Projection, Scope
from schemas.access_audit import EVENTS as ACCESS
from tests.unit.projections.history import STORY, Happened, two_orders

ROOT = Path(projections.__file__).parent
NAMES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
SQL_TYPES = {
    UUID: "uuid",
    str: "text",
    int: "bigint",
    bool: "boolean",
    datetime: "timestamptz",
    date: "date",
    float: "double precision",
}


def load(name: str) -> Projection:
    found: Projection = importlib.import_module(f"projections.{name}").projection
    return found


def created(name: str) -> dict[str, tuple[list[tuple[str, str]], tuple[str, ...]]]:
    """Per table of ``tables.sql`` its columns as (name, definition), and its primary key."""
    tables = {}
    sql = (ROOT / name / "tables.sql").read_text()
    for table, inside in re.findall(r"CREATE TABLE (\w+) \(\n(.*?)\n\);", sql, re.DOTALL):
        *columns, primary = [line.strip().rstrip(",") for line in inside.split("\n")]
        key = re.fullmatch(r"PRIMARY KEY \((.*)\)", primary)
        assert key, f"{table}: the primary key comes last"
        tables[table] = [tuple(c.split(" ", 1)) for c in columns], tuple(key[1].split(", "))
    return tables


def sql_type(hint: Any) -> tuple[str, bool]:
    """The column type of a row's field, and whether it may be NULL."""
    if isinstance(hint, types.UnionType):
        (some,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return sql_type(some)[0], True
    if typing.get_origin(hint) is tuple:
        return f"{SQL_TYPES[typing.get_args(hint)[0]]}[]", False
    if typing.get_origin(hint) is dict:
        return "jsonb", False
    return SQL_TYPES[hint], False


def test_there_are_seven_read_models() -> None:
    assert NAMES == [
        "clinic_oncology_ward",
        "clinic_patients",
        "clinic_referrals",
        "cluster_access",
        "cluster_activity",
        "cluster_chart",
        "cluster_oncology_pathway",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_folder_has_the_same_files(name: str) -> None:
    files = {path.name for path in (ROOT / name).iterdir() if path.is_file()}
    assert files - {"policy.toml"} == {"__init__.py", "tables.sql", "reads.sql"}


@pytest.mark.parametrize("name", NAMES)
def test_a_projection_is_named_like_its_folder_and_its_first_table(name: str) -> None:
    projection = load(name)
    assert projection.name == name
    assert next(iter(projection.tables.values())).name == name
    assert name.startswith("clinic_" if projection.scope is Scope.CLINIC else "cluster_")


@pytest.mark.parametrize("name", NAMES)
def test_tables_have_the_columns_types_and_key_of_the_rows(name: str) -> None:
    tables = created(name)
    projection = load(name)
    assert set(tables) == {table.name for table in projection.tables.values()}
    for table in projection.tables.values():
        columns, key = tables[table.name]
        hints = typing.get_type_hints(table.row)
        shard = [("shard", "smallint NOT NULL")] if table.sums else []
        expected = []
        for name in table.columns:
            type_, optional = sql_type(hints[name])
            expected.append((name, type_ if optional else f"{type_} NOT NULL"))
        small = [(n, t.replace("integer", "bigint")) for n, t in columns]
        assert small == expected + shard
        assert key == table.key + tuple(n for n, _ in shard)


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_explained_and_leave_the_schema_to_the_engine(name: str) -> None:
    sql = (ROOT / name / "tables.sql").read_text()
    for table in created(name):
        assert f"COMMENT ON TABLE {table} IS '" in sql
    assert not re.search(r"(TABLE|ON) \w+\.\w+", sql)


@pytest.mark.parametrize("name", NAMES)
def test_reads_is_one_select_that_keeps_whose_row_it_is(name: str) -> None:
    sql = re.sub(r"^--.*\n", "", (ROOT / name / "reads.sql").read_text(), flags=re.MULTILINE)
    assert sql.startswith("SELECT\n") or sql.startswith("SELECT ")
    assert ";" not in sql
    if load(name).scope is Scope.CLINIC:
        assert f"{name}.*" in sql or {"clinic_id", "subject"} <= set(re.findall(r"\w+", sql))


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_immutable_records(name: str) -> None:
    for row in load(name).tables:
        assert is_record(row)
        assert row.__struct_config__.frozen
        assert not row.__struct_config__.gc


def test_the_story_has_every_kind_of_a_patients_events() -> None:
    told = {event_type(body) for body, _ in STORY}
    heard = {type_ for name in NAMES for type_ in load(name).handlers} - {"*"}
    assert {t for t in heard if not t.startswith("directory.")} <= told


@pytest.mark.parametrize("name", NAMES)
def test_to_have_looked_at_a_patient_is_seen_in_the_access_log_alone(name: str) -> None:
    touched = {event_type(body) for body in ACCESS if load(name).touches(event_type(body))}
    assert touched == ({event_type(body) for body in ACCESS} if name == "cluster_access" else set())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(orders=two_orders())
def test_rows_are_the_same_whichever_service_is_heard_first(
    name: str, orders: tuple[Sequence[Happened], Sequence[Happened]]
) -> None:
    one, other = orders
    assert fold(load(name), one) == fold(load(name), other)
