"""Rows to stdout, in the format that the caller asked for. Every command that shows rows uses `emit`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, TextIO
from uuid import UUID

import typer


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to show it.")]


def emit(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    format: Format | str = Format.TABLE,
    *,
    title: str | None = None,
    out: TextIO | None = None,
) -> int:
    """Write the named columns of every row, and return how many rows there were.

    A table for people, the other three for programs: `json` is one array, `ndjson` a line per row as it comes,
    `csv` has a header line. A value that is missing is empty (null in JSON).
    """
    out = out or sys.stdout
    match Format(format):
        case Format.TABLE:
            return emit_table(rows, columns, title, out)
        case Format.JSON:
            listed = [chosen(row, columns) for row in rows]
            out.write(json.dumps(listed, indent=1, ensure_ascii=False, default=as_json) + "\n")
            return len(listed)
        case Format.NDJSON:
            count = 0
            for row in rows:
                line = json.dumps(chosen(row, columns), ensure_ascii=False, default=as_json, separators=(",", ":"))
                out.write(line + "\n")
                count += 1
            return count
        case Format.CSV:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(columns)
            count = 0
            for row in rows:
                writer.writerow([as_text(row.get(column)) for column in columns])
                count += 1
            return count


def emit_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str | None, out: TextIO) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(as_cell(row.get(column))) for column in columns))  # Text: nothing in it is markup
    if title:
        out.write(f"{title}\n")  # not the table's own title: that would be broken at the table's width
    # A pipe has no width: there, no line is ever broken.
    console = Console(file=out) if out.isatty() else Console(file=out, width=10_000, no_color=True)
    with console.capture() as drawn:
        console.print(table, crop=False)
    lines = [line.rstrip() for line in drawn.get().splitlines()]
    out.write("\n".join(lines[1:] if lines and not lines[0] else lines) + "\n")
    return table.row_count


def moment(text: str) -> datetime:
    """A moment as people write it; without a zone it is UTC.

    Raises
    ------
    Refused
        It is none.
    """
    from epicrisis.errors import Refused

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("write a moment as 2026-03-01T12:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def counted(count: int, noun: str) -> str:
    """A number and its noun: ``1 message``, ``2 messages``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def chosen(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {column: row.get(column) for column in columns}


def as_json(value: object) -> object:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case list() | tuple() | set() | frozenset():
            return ", ".join(as_text(item) for item in value)
        case dict():
            return json.dumps(value, ensure_ascii=False, default=as_json)
        case _:
            return str(value)


def as_cell(value: object) -> str:
    """A value for people: a mapping as ``key: value``, without the signs that only programs need."""
    match value:
        case dict():
            parts = (f"{short(str(key))}: {as_cell(item)}" for key, item in value.items())
            return "; ".join(parts)
        case list() | tuple() | set() | frozenset():
            return ", ".join(as_cell(item) for item in value)
        case _:
            return as_text(value)


def short(key: str) -> str:
    """The first digits of a UUID; any other key as it is."""
    try:
        return f"{UUID(key).hex[:8]}…"
    except ValueError:
        return key
