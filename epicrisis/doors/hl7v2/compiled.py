"""The tables, checked against one another and against FHIR, ready to be applied."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from epicrisis.doors.hl7v2.convert import PLAIN, ZONED
from epicrisis.doors.hl7v2.rules import LEVELS, As, Code, Mappings, Opens, Part, Resource, Row, Table
from epicrisis.doors.hl7v2.source import Source, Term, condition, sources
from epicrisis.doors.hl7v2.tables import Line, Tables, read_tables
from epicrisis.doors.hl7v2.target import Target, target
from epicrisis.errors import SettingsError
from epicrisis.fhir.spec import types

REQUIRED = "required"
_WORDS = frozenset("system table authority own id text lines person phone clinic date".split())
"""What `as` may say beside the name of a data type."""


def compiled(own: Path | None = None) -> Mappings:
    """The shipped tables with an operator's over them.

    Raises
    ------
    SettingsError
        A line is wrong: names the file, the line, and what is expected.
    """
    tables = read_tables(own)
    segments = {name: _table(name, lines, tables, "segment") for name, lines in tables.segments.items()}
    return Mappings(
        kinds={line["message"]: line["kind"] for line in tables.simple["messages"]},
        groups={line["segment"]: _opens(line) for line in tables.simple["groups"]},
        resources=_resources(tables, segments),
        segments=segments,
        types={name: _table(name, lines, tables, "type") for name, lines in tables.types.items()},
        codes={name: {line["code"]: _code(line) for line in lines} for name, lines in tables.codes.items()},
        systems=_pairs(tables.simple["systems"], "name", "uri"),
        authorities=_pairs(tables.simple["authorities"], "authority", "system"),
        clinics=_pairs(tables.simple["clinics"], "name", "clinic"),
        charsets={line["name"].upper(): line.read(_codec, "codec") for line in tables.simple["charsets"]},
        zone=_zone(tables.simple["settings"]),
    )


def _pairs(lines: list[Line], key: str, value: str) -> dict[str, str]:
    for line in lines:
        if not line[key] or not line[value]:
            raise line.wrong(f"`{key}` and `{value}` are both needed")
    return {line[key].upper(): line[value] for line in lines}


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("no such codec (https://docs.python.org/3/library/codecs.html#standard-encodings)") from None


def _code(line: Line) -> Code:
    return Code(line["fhir"], line["system"], line["display"])


def _zone(lines: list[Line]) -> tzinfo | None:
    for line in lines:
        if line["name"] != "zone":
            raise line.wrong("the only setting is `zone`")
        if line["value"]:
            try:
                return UTC if line["value"] == "UTC" else ZoneInfo(line["value"])
            except (KeyError, ValueError, OSError):
                raise line.wrong("no such time zone: write its IANA name, like Europe/Vienna") from None
    return None


def _opens(line: Line) -> Opens:
    if line["level"] not in LEVELS:
        raise line.wrong(f"column `level`: one of {', '.join(LEVELS)}")
    if line["opens"] not in ("always", "again", "never"):
        raise line.wrong("column `opens`: always, again or never")
    level = LEVELS.index(line["level"])
    return Opens(-level if line["opens"] == "never" else level, line["opens"] == "again")


def _resources(tables: Tables, segments: Mapping[str, Table]) -> dict[str, dict[str, tuple[Resource, ...]]]:
    kinds = {line["kind"] for line in tables.simple["messages"]}
    found: dict[str, dict[str, tuple[Resource, ...]]] = {kind: {} for kind in kinds}
    for line in tables.simple["resources"]:
        kind = types().get(line["resource"])
        if kind is None or not kind.resource:
            raise line.wrong("column `resource`: FHIR R4 has no such resource")
        if line["table"] == "-":
            continue
        if line["table"] not in segments:
            raise line.wrong(f"column `table`: there is no segments/{line['table']}.csv")
        when = line.read(condition_and_required, "when")
        if line["write"] not in ("always", "new", "never"):
            raise line.wrong("column `write`: always, new or never")
        if not line["id"] and (line["resource"] != "Patient" or line["write"] == "never"):
            raise line.wrong("column `id`: only a Patient who is written is found by identifiers alone")
        resource = Resource(
            segment=line["segment"],
            type=line["resource"],
            table=segments[line["table"]],
            ids=line.read(_ids, "id"),
            when=when[0],
            required=when[1],
            write=line["write"],  # type: ignore[arg-type]
        )
        for name in line["kinds"].split():
            if name not in kinds:
                raise line.wrong(f"column `kinds`: messages.csv has no {name}")
            found[name][resource.segment] = (*found[name].get(resource.segment, ()), resource)
    return found


def condition_and_required(words: str) -> tuple[tuple[Term, ...], bool]:
    """A condition that may have the term `required`."""
    terms = [word.strip() for word in words.split(" & ") if word.strip()]
    return condition(" & ".join(word for word in terms if word != REQUIRED)), REQUIRED in terms


def _ids(words: str) -> tuple[tuple[Part, ...], ...]:
    if not words:
        return ()
    return tuple(
        tuple(
            Part(sources(part.strip().strip("()").removesuffix("?")), part.strip().endswith("?"))
            for part in way.split(" + ")
        )
        for way in words.split(" / ")
    )


def _table(name: str, lines: list[Line], tables: Tables, kind: Literal["segment", "type"]) -> Table:
    root = _root(name)
    if root not in types():
        file = lines[0].file if lines else name
        raise SettingsError(f"{file}: FHIR R4 has no type {root}: a file is SEGMENT-Type.csv or DATATYPE-Type.csv")
    rows = tuple(_row(line, root, tables) for line in lines if line["source"] != "-")
    pure = kind == "type" and all(_is_pure(row, tables, root) for row in rows)
    return Table(name=name, rows=rows, pure=pure)


def _is_pure(row: Row, tables: Tables, root: str) -> bool:
    parts = (*row.sources, *(term.source for term in row.when))
    if any(source.kind not in ("part", "text", "argument") for source in parts) or row.how == "zoned":
        return False
    if row.how == "type" and row.word != root:
        return all(_is_pure(_row(line, _root(row.word), tables), tables, row.word) for line in tables.types[row.word])
    return True


def _root(name: str) -> str:
    """``PatientContact`` of ``NK1-PatientContact``; there may be a third part, to tell two apart."""
    return [*name.split("-"), ""][1]


def _row(line: Line, root: str, tables: Tables) -> Row:
    where = line.read(lambda words: target(root, words), "target")
    when, required = line.read(condition_and_required, "when")
    found = line.read(sources, "source")
    words, lenient = line["as"].removesuffix("?").strip(), line["as"].endswith("?")
    how, word, argument = _how(line, words, where, found, tables)
    text = found[0].text if found[0].kind == "text" else ""
    if text and where.codes and text not in where.codes:
        raise line.wrong(f"column `source`: FHIR allows only {', '.join(where.codes)}")
    return Row(
        sources=found,
        when=when,
        target=where,
        required=required,
        how=how,
        word=word,
        argument=argument,
        lenient=lenient,
    )


def _how(line: Line, words: str, where: Target, found: tuple[Source, ...], tables: Tables) -> tuple[As, str, str]:
    """What `as` means, checked."""
    word, _, argument = words.partition(" ")
    if found[0].kind == "resource":
        if where.type != "Reference":
            raise line.wrong(f"column `target`: {where.text} is no Reference")
        return "plain", "", ""
    if found[0].kind == "segments":
        name = f"{found[0].segment}-{where.type}" + (f"-{word}" if word else "")
        if name not in tables.segments:
            raise line.wrong(f"column `source`: there is no segments/{name}.csv")
        return "segment", name, ""
    if word == "code":
        if argument not in tables.codes:
            raise line.wrong(f"column `as`: there is no codes/{argument}.csv")
        for code in tables.codes[argument] if where.codes else ():
            if code["fhir"] and code["fhir"] not in where.codes:
                raise code.wrong(f"column `fhir`: {where.text} allows only {', '.join(where.codes)}")
        return "code", "", argument
    if word == "date" and where.primitive:
        return "plain", "date", ""
    if word in PLAIN and where.primitive:
        return "plain", word, ""
    if word in _WORDS:
        return word, "", argument  # type: ignore[return-value]
    if word:
        name = f"{word}-{where.type}"
        if name not in tables.types:
            raise line.wrong(f"column `as`: there is no types/{name}.csv, and no conversion {word}")
        return "type", name, argument
    if where.type in ZONED:
        return "zoned", where.type, ""
    if where.type not in PLAIN:
        raise line.wrong(f"column `as`: {where.text} is a {where.type}: say from which data type, like CWE")
    return "plain", where.type, ""
