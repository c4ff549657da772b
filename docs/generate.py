"""Write the generated reference pages: `python docs/generate.py`. A test fails where a page is older than the code.

The commands come from the command line's own help, the events from the classes in ``schemas/``, the read models from
the projections' row classes and SQL files.
"""

# ruff: noqa: E501  (the text of a page: a line is a paragraph)

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Generated: `python docs/generate.py`. -->\n"
WIDTH = 80


def main() -> None:
    """Write every page."""
    for name, write in PAGES.items():
        (DOCS / "reference" / name).write_text(write(), encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")


# Commands


def commands() -> str:
    """Every command's own help."""
    text = f"""# Commands

{NOTE}
`epicrisis --help` lists the commands; this page is what each says about itself.

Exit codes: 0 done; 1 an error, or something was refused or still waits (one line on stderr says what to do); 2 wrong usage; 130 interrupted.

`--format` is `table` for people, `json` (one array), `ndjson` (a line per row) or `csv` (with a header line) for programs.
"""
    for words in command_names():
        text += f"\n## epicrisis {' '.join(words)}\n\n```text\n{help_of(words)}\n```\n"
    return text


def command_names() -> list[tuple[str, ...]]:
    """Every command, those in groups with their group's name, in the order of the alphabet: that of the
    command line is that in which its modules happened to be imported.
    """
    found: list[tuple[str, ...]] = []
    for name, command in sorted(_application().commands.items()):
        inside = getattr(command, "commands", None)
        found += [(name, sub) for sub in sorted(inside)] if inside else [(name,)]
    return found


def help_of(words: tuple[str, ...]) -> str:
    """What a command says when it is asked for help."""
    command = _application()
    context = command.make_context("epicrisis", [], resilient_parsing=True, terminal_width=WIDTH)
    for word in words:
        command = command.commands[word]
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
    return "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())


@cache
def _application() -> Any:
    import typer

    from epicrisis.cli.app import COMMAND_MODULES, app

    for module in COMMAND_MODULES:
        importlib.import_module(module)
    return typer.main.get_command(app)


# Events


def events() -> str:
    """Every event type with its fields, by context."""
    from epicrisis.codec import Catalogue
    from epicrisis.event import fields_of

    catalogue = Catalogue.read()
    text = f"""# Events

{NOTE}
What an event's body holds, by context; the types are those of the class and of the released Avro schema beside it (`schemas/<context>/<Event>.v<N>.avsc`).
`Coding` is `system`, `code`, `display`. Text that is not known is empty, not null. `resource` is the FHIR resource as it was sent, byte for byte, its references in the cluster's form.

Every event also has the envelope (`schemas/envelope.avsc`): {_envelope(catalogue.envelope.schema)}.

`epicrisis schema list` prints every release with its schema id.
"""
    context = ""
    for kind in sorted(catalogue.kinds.values(), key=lambda kind: kind.type.split(".")[0]):
        module = importlib.import_module(kind.cls.__module__)
        if kind.type.split(".")[0] != context:
            context = kind.type.split(".")[0]
            text += f"\n## {context}\n\n{_one_line(module.__doc__)}\n"
        release = kind.releases[kind.newest]
        text += (
            f"\n### {kind.type}\n\n{_one_line(kind.cls.__doc__)} (version {kind.newest}, schema id {release.id})\n\n"
        )
        hints = typing.get_type_hints(kind.cls)
        fields = [f"`{name}` {_type_name(hints[name])}" for name in fields_of(kind.cls)]
        text += ", ".join(fields) + "\n"
    return text


def _envelope(schema: dict[str, Any]) -> str:
    return ", ".join(f"`{field['name']}`" for field in schema["fields"])


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join("null" if a is type(None) else _type_name(a) for a in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    names = {str: "text", int: "integer", bool: "boolean", float: "number", bytes: "bytes"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _one_line(doc: str | None) -> str:
    return " ".join(re.sub(r"``?([^`]+)``?", r"`\1`", inspect.cleandoc(doc or "")).split())


# Read models


def read_models() -> str:
    """Every read model with the columns of its view."""
    from epicrisis.found import projections

    text = f"""# Read models

{NOTE}
`epicrisis read <name>` shows the view `read.<name>` of the cluster database, whichever version is behind it. Read models of scope `clinic` show a clinic only its own rows (`--clinic operator/site`); the `auditor` role sees all.

Every row ends with `incomplete`: true while the subject's events are [parked](../how-to/parked-subjects.md) for this read model (of a counter: while any subject's are), so that the row may lack the newest. `shaped_by` is the last event that shaped the row: its number in the patient's history, as `epicrisis replay` and `epicrisis explain` show it. Counters have none.

Times are UTC. `code` and `purpose_code` hold `system|code`, `category_code` the code alone.
"""
    for name, projection in sorted(projections().items()):
        module = importlib.import_module(f"projections.{name}")
        text += f"\n## {name}\n\n{_one_line(module.__doc__)}\n\nVersion {projection.version}, scope {projection.scope.value}.\n\n"
        columns = view_columns(name)
        text += "Columns: " + ", ".join(f"`{column}`" for column in columns) + "\n"
        for table in projection.tables.values():
            key = ", ".join(f"`{column}`" for column in table.key)
            text += f"\n- Table `{table.name}`, key {key}: {_one_line(table.row.__doc__)}\n"
    return text


def view_columns(name: str) -> list[str]:
    """The columns of ``read.<name>``, read off ``reads.sql`` (or the row class) as the engine makes the view."""
    from epicrisis.found import projections, text_of
    from epicrisis.projection import SHAPED_BY

    projection = projections()[name]
    tables = {t.name: [*t.columns, *(() if t.sums else (SHAPED_BY,))] for t in projection.tables.values()}
    sql = text_of(f"projections.{name}", "reads.sql")
    if sql is None:
        return [*tables[name], "incomplete"]
    found: list[str] = []
    for item in _select_list(re.sub(r"^--.*$", "", sql, flags=re.MULTILINE)):
        if (star := re.fullmatch(r"(?:(\w+)\.)?\*", item)) is not None:
            found += tables[star[1] or name]
        else:
            found.append(re.split(r"\bAS\b|\.", item)[-1].strip())
    return [*found, "incomplete"]


def _select_list(sql: str) -> Iterator[str]:
    depth, item = 0, ""
    body = sql.strip().removeprefix("SELECT")
    for word in re.findall(r"\(|\)|,|\bCASE\b|\bEND\b|\bFROM\b|\s+|[^\s(),]+", body):
        if word == "FROM" and depth == 0:
            break
        depth += {"(": 1, ")": -1, "CASE": 1, "END": -1}.get(word, 0)
        if word == "," and depth == 0:
            yield item.strip()
            item = ""
        else:
            item += word
    yield item.strip()


PAGES = {"commands.md": commands, "events.md": events, "read-models.md": read_models}


if __name__ == "__main__":
    main()
