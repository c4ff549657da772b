"""The mapping tables, as an integration engineer writes them: CSV files, read and checked once.

    messages.csv      which messages are understood, and their kind
    groups.csv        which segments begin a group (a patient, an order, an item of it)
    resources.csv     which segment of which kind of message becomes which resource, and what its id is made of
    segments/S-R.csv  segment S to resource (or part of one) R: a row an element
    types/D-T.csv     data type D to FHIR type T, in the same way
    codes/NAME.csv    a code of table NAME to a code of FHIR
    systems.csv       names of code systems (LN, SCT, I10, …) to their URIs
    authorities.csv   assigning authorities to the systems of their identifiers
    clinics.csv       how messages name clinics of the cluster
    charsets.csv      names of character sets (table 0211) to codecs
    settings.csv      the time zone of a sender that says none

An operator's own folder is laid over the shipped one. In segments/ and types/ its rows stand in for all shipped rows of
the same element and of what is in it (`-` as source: for nothing); in every other file for the row with the same first
column, or in resources.csv with the same kinds, segment and resource. Lines that begin with # are notes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from epicrisis.errors import SettingsError

T = TypeVar("T")

SHIPPED = "tables"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "messages": ("message", "kind", "note"),
    "groups": ("segment", "level", "opens", "note"),
    "resources": ("kinds", "segment", "resource", "table", "write", "id", "when", "note"),
    "segments": ("source", "when", "target", "as", "note"),
    "types": ("source", "when", "target", "as", "note"),
    "codes": ("code", "fhir", "system", "display", "note"),
    "systems": ("name", "uri", "note"),
    "authorities": ("authority", "system", "note"),
    "clinics": ("name", "clinic", "note"),
    "charsets": ("name", "codec", "note"),
    "settings": ("name", "value", "note"),
}
"""The columns of each kind of file."""


class Entry(Protocol):
    """A file or folder: of the package, or of an operator."""

    @property
    def name(self) -> str: ...
    def is_dir(self) -> bool: ...
    def iterdir(self) -> Iterator[Entry]: ...
    def read_text(self, encoding: str | None = None) -> str: ...


class Line(Struct, frozen=True):
    """One row of a table, and where it stands."""

    file: str
    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def wrong(self, why: str) -> SettingsError:
        """The error that names file and line."""
        return SettingsError(f"{self.file}, line {self.number}: {why}")

    def read(self, read: Callable[[str], T], column: str) -> T:
        """A cell as something else; what is wrong with it names file, line and column."""
        try:
            return read(self[column])
        except ValueError as problem:
            raise self.wrong(f"column `{column}`: {problem}") from None


class Tables(NamedTuple):
    """The lines of every file: ``simple`` by the name of the file, the others by folder and name."""

    simple: Mapping[str, list[Line]]
    segments: Mapping[str, list[Line]]
    types: Mapping[str, list[Line]]
    codes: Mapping[str, list[Line]]


def read_tables(own: Path | None = None) -> Tables:
    """The shipped tables with an operator's laid over them.

    Raises
    ------
    SettingsError
        A file cannot be read as a table, or is none that is known: names file and line.
    """
    shipped = _folder(_entry(files(__package__).joinpath(SHIPPED)), "hl7v2")
    if own is None:
        return shipped
    if not own.is_dir():
        raise SettingsError(f"{own}: there is no such folder")
    theirs = _folder(own, str(own))
    return Tables(
        {name: _over(shipped.simple.get(name, []), theirs.simple.get(name, []), _key(name)) for name in _SIMPLE},
        {name: _rows_over(shipped.segments.get(name, []), own) for name, own in _all(shipped, theirs, "segments")},
        {name: _rows_over(shipped.types.get(name, []), own) for name, own in _all(shipped, theirs, "types")},
        {name: _over(shipped.codes.get(name, []), own, _key("codes")) for name, own in _all(shipped, theirs, "codes")},
    )


_SIMPLE = tuple(name for name in COLUMNS if name not in ("segments", "types", "codes"))


def _entry(found: object) -> Entry:
    return found  # type: ignore[return-value]  # importlib's Traversable has these


def _folder(folder: Entry, label: str) -> Tables:
    simple: dict[str, list[Line]] = {}
    folders: dict[str, dict[str, list[Line]]] = {"segments": {}, "types": {}, "codes": {}}
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir() and entry.name in folders:
            for file in sorted(entry.iterdir(), key=lambda e: e.name):
                if file.name.endswith(".csv"):
                    name = file.name.removesuffix(".csv")
                    folders[entry.name][name] = _lines(file, entry.name, f"{label}/{entry.name}/{file.name}")
        elif entry.name.endswith(".csv"):
            name = entry.name.removesuffix(".csv")
            if name not in _SIMPLE:
                raise SettingsError(f"{label}/{entry.name}: no such table; there are {', '.join(_SIMPLE)}")
            simple[name] = _lines(entry, name, f"{label}/{entry.name}")
    return Tables(simple, folders["segments"], folders["types"], folders["codes"])


def _lines(file: Entry, kind: str, label: str) -> list[Line]:
    columns = COLUMNS[kind]
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{label}: cannot be read as UTF-8: {type(problem).__name__}") from None
    reader = csv.reader(text.splitlines(), strict=True, skipinitialspace=True)
    found: list[Line] = []
    headed = False
    try:
        for cells in reader:
            if not cells or cells[0].startswith("#") or not any(cells):
                continue
            line = Line(label, reader.line_num, {c: v.strip() for c, v in zip(columns, cells, strict=False)})
            if not headed:
                if tuple(cell.strip() for cell in cells) != columns:
                    raise line.wrong(f"the first line must be: {','.join(columns)}")
                headed = True
                continue
            if len(cells) > len(columns):
                raise line.wrong(f"there are {len(cells)} cells, for {len(columns)} columns: quote what has a comma")
            found.append(replace(line, cells={**dict.fromkeys(columns, ""), **line.cells}))
    except csv.Error as problem:
        raise SettingsError(f"{label}, line {reader.line_num}: {problem}") from None
    return found


def _key(kind: str) -> Callable[[Line], tuple[str, ...]]:
    columns = ("kinds", "segment", "resource") if kind == "resources" else COLUMNS[kind][:1]
    return lambda line: tuple(line[column].upper() for column in columns)


def _over(shipped: Iterable[Line], own: list[Line], key: Callable[[Line], tuple[str, ...]]) -> list[Line]:
    """Their rows first: the first that fits is taken."""
    replaced = {key(line) for line in own}
    return [*own, *(line for line in shipped if key(line) not in replaced)]


def _rows_over(shipped: Iterable[Line], own: list[Line]) -> list[Line]:
    """Their rows instead of those that fill the same element, or something in it."""
    filled = tuple({line["target"] for line in own})
    inside = tuple(f"{name}{end}" for name in filled for end in ".[")
    return [*own, *(line for line in shipped if line["target"] not in filled and not line["target"].startswith(inside))]


def _all(shipped: Tables, own: Tables, folder: str) -> list[tuple[str, list[Line]]]:
    """Every table of a folder by name, with the operator's lines."""
    theirs: Mapping[str, list[Line]] = getattr(own, folder)
    return [(name, theirs.get(name, [])) for name in {**getattr(shipped, folder), **theirs}]
