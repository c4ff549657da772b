"""SQL lives in ``.sql`` files: DDL one object a file, queries named ``-- name: purpose`` in ``queries.sql``.

Lists of bytes, text, JSON and times go as ``%(name)b``: written as text, each element is escaped twice (32 values of
600 bytes took 25 ms of processor time, and 0.03 ms so). Ids and numbers go through `array`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

_NAME = re.compile(r"^-- (\w+): .*$", re.MULTILINE)


@cache
def queries(package: str) -> dict[str, LiteralString]:
    """The named queries of ``<package>/sql/queries.sql``, each headed ``-- name: what it is for``."""
    text = (files(package) / "sql" / "queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: literal(body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}


@cache
def ddl(package: str) -> tuple[LiteralString, ...]:
    """The DDL files of ``<package>/sql``, in the order of their names (``01_schema.sql``, ...)."""
    folder = files(package) / "sql"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql") and f.name != "queries.sql")
    return tuple(literal((folder / name).read_text(encoding="utf-8")) for name in names)


def array(items: Iterable[Any]) -> str:
    """Ids or numbers as PostgreSQL writes an array: psycopg looks at each element of a list several times."""
    return "{" + ",".join(map(str, items)) + "}"


def literal(text: Any) -> LiteralString:
    """SQL that is part of this package, or composed from its declarations (table and column names), never from
    input.
    """
    return text  # type: ignore[no-any-return]
