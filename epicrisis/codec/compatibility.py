"""Can a reader with one Avro schema read what was written with another? The rules of Avro 1.12, "Schema Resolution".

A registry would check the same; here it is a function, so that a test can, without a server.
"""

from __future__ import annotations

from typing import Any

PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
NAMED = {"record", "enum", "fixed"}


def incompatibilities(reader: Any, writer: Any) -> list[str]:
    """Why data written with ``writer`` cannot be read with ``reader``: a line each, empty where it can."""
    return _Check(_named(reader), _named(writer)).compare(reader, writer, "")


def _named(schema: Any) -> dict[str, Any]:
    """All named types in a schema, by the name they are referred to with."""
    found: dict[str, Any] = {}
    match schema:
        case list():
            for arm in schema:
                found |= _named(arm)
        case dict():
            if schema["type"] in NAMED:
                found[schema["name"]] = schema
            for field in schema.get("fields", ()):
                found |= _named(field["type"])
            for part in ("items", "values", "type"):
                if isinstance(schema.get(part), dict | list):
                    found |= _named(schema[part])
    return found


class _Check:
    def __init__(self, reader_names: dict[str, Any], writer_names: dict[str, Any]) -> None:
        self.reader_names = reader_names
        self.writer_names = writer_names
        self.seen: set[tuple[str, str]] = set()

    def compare(self, reader: Any, writer: Any, where: str) -> list[str]:
        reader, writer = self._resolved(reader, self.reader_names), self._resolved(writer, self.writer_names)
        if isinstance(writer, list):  # whatever arm was written must be readable
            return [problem for arm in writer for problem in self.compare(reader, arm, where)]
        if isinstance(reader, list):
            if any(not self.compare(arm, writer, where) for arm in reader):
                return []
            return [f"{where or 'the whole'}: {_kind(writer)} is not in the reader's union"]
        kinds = _kind(reader), _kind(writer)
        match kinds:
            case ("record", "record"):
                return self._records(reader, writer, where)
            case ("array", "array"):
                return self.compare(reader["items"], writer["items"], f"{where}[]")
            case ("map", "map"):
                return self.compare(reader["values"], writer["values"], f"{where}{{}}")
            case ("fixed", "fixed"):
                return self._fixed(reader, writer, where)
            case ("enum", "enum"):
                return self._enums(reader, writer, where)
        if kinds[0] == kinds[1] or kinds[0] in PROMOTIONS.get(kinds[1], ()):
            return []
        return [f"{where or 'the whole'}: written as {kinds[1]}, read as {kinds[0]}"]

    def _records(self, reader: Any, writer: Any, where: str) -> list[str]:
        pair = reader["name"], writer["name"]
        if pair in self.seen:
            return []
        self.seen.add(pair)
        problems = _names(reader, writer, where)
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            place = f"{where}.{field['name']}" if where else field["name"]
            names = field["name"], *field.get("aliases", ())
            source = next((written[name] for name in names if name in written), None)
            if source is not None:
                problems += self.compare(field["type"], source["type"], place)
            elif "default" not in field:
                problems.append(f"{place}: new without a default")
        self.seen.discard(pair)
        return problems

    def _fixed(self, reader: Any, writer: Any, where: str) -> list[str]:
        sizes = [] if reader["size"] == writer["size"] else [f"{where}: another size"]
        return _names(reader, writer, where) + sizes

    def _enums(self, reader: Any, writer: Any, where: str) -> list[str]:
        lost = [] if "default" in reader else [s for s in writer["symbols"] if s not in reader["symbols"]]
        return _names(reader, writer, where) + [f"{where}: symbol {symbol} is gone" for symbol in lost]

    @staticmethod
    def _resolved(schema: Any, names: dict[str, Any]) -> Any:
        return names.get(schema, schema) if isinstance(schema, str) else schema


def _kind(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema["type"])


def _names(reader: Any, writer: Any, where: str) -> list[str]:
    """Named types match by their unqualified names, or by one of the reader's aliases."""
    mine = {name.rsplit(".", 1)[-1] for name in (reader["name"], *reader.get("aliases", ()))}
    if writer["name"].rsplit(".", 1)[-1] in mine:
        return []
    return [f"{where or 'the whole'}: {writer['name']} was renamed to {reader['name']}"]
