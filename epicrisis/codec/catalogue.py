"""The catalogue: every event type with its class, its released schemas and the way from old ones to the newest.

Contexts are the folders of the package ``schemas``. A release is a file ``<Event>.v<N>.avsc`` beside the class; it is
never changed afterwards. ``upcasts.py`` in the same folder lifts old bodies, one pure function a step:
``upcasts = {("DiagnosisStaged", 1): v1_to_v2}``. They work on plain Avro data: dicts, lists, strings, bytes, numbers; a
datetime is a count of microseconds since 1970.

Schema ids are made, not given out: the first 31 bits after the sign of the SHA-256 of the schema's Avro parsing
canonical form (Avro 1.12, "Transforming into Parsing Canonical Form"). Every installation has the same ids.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fastavro.schema import parse_schema, to_parsing_canonical_form

from epicrisis.codec.compatibility import incompatibilities
from epicrisis.codec.shape import Shape, shape
from epicrisis.errors import CatalogueError, UnknownSchema

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

ENVELOPE = "envelope"
_RELEASE = re.compile(r"(\w+)\.v([1-9][0-9]*)\.avsc")


def schema_id(schema: Any) -> int:
    """The id of a schema: 31 bits of the SHA-256 of its parsing canonical form. Names, types and order count; docs,
    defaults and logical types do not."""
    canonical = to_parsing_canonical_form(schema)
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:4], "big") & 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Release:
    """One released schema: as it was published, and compiled for the wire (without logical types)."""

    type: str
    version: int
    schema: dict[str, Any]
    compiled: Any
    id: int

    @classmethod
    def of(cls, type: str, version: int, schema: dict[str, Any]) -> Release:
        return cls(type, version, schema, parse_schema(plain(schema)), schema_id(schema))


@dataclass(slots=True)
class Kind:
    """An event type: its class (None where it has none any more), its releases, and the steps between them."""

    type: str
    cls: Any
    folder: Path
    releases: dict[int, Release] = field(default_factory=dict)
    upcasts: dict[int, Upcast] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        return max(self.releases, default=0)

    @property
    def shape(self) -> Shape:
        assert self.cls is not None, self.type
        return shape(self.cls)


class Catalogue:
    """All event types by their stored names; ``load()`` is the one of this release."""

    def __init__(self, kinds: Mapping[str, Kind], envelope: dict[str, Any]) -> None:
        self.kinds = dict(kinds)
        self.envelope = Release.of(ENVELOPE, 1, envelope)
        self._by_id = {release.id: release for release in (self.envelope, *self.releases())}

    @classmethod
    def load(cls, package: str = "schemas") -> Catalogue:
        """The catalogue of a package, checked (once per process).

        Raises
        ------
        CatalogueError
            A class differs from its newest release, a release is incompatible, or an upcast is missing.
        """
        return _loaded(package)

    @classmethod
    def read(cls, package: str = "schemas") -> Catalogue:
        """The catalogue of a package as it is, unchecked: for ``problems()`` and for releasing."""
        found = importlib.import_module(package)
        root = Path(found.__path__[0])
        kinds: dict[str, Kind] = {}
        for context in sorted(m.name for m in pkgutil.iter_modules(found.__path__) if m.ispkg):
            kinds |= _context(f"{package}.{context}", root / context)
        return cls(kinds, json.loads((root / f"{ENVELOPE}.avsc").read_text(encoding="utf-8")))

    def releases(self) -> Iterator[Release]:
        """Every released schema of a body."""
        for kind in self.kinds.values():
            yield from kind.releases.values()

    def writer(self, type: str, version: int) -> Release:
        """The schema that a body of this type and version was written with.

        Raises
        ------
        UnknownSchema
            It is not in this release's catalogue.
        """
        kind = self.kinds.get(type)
        release = kind.releases.get(version) if kind else None
        if release is None:
            raise UnknownSchema(f"{_word(type)} v{version} is not in this release: upgrade first, then retry")
        return release

    def by_id(self, id: int) -> Release:
        """The release with this schema id, the envelope's included.

        Raises
        ------
        UnknownSchema
            No release of this catalogue has it.
        """
        try:
            return self._by_id[id]
        except KeyError:
            raise UnknownSchema(f"schema id {id} is not in this release: upgrade first, then retry") from None

    def problems(self) -> list[str]:
        """What is wrong, a line each with what to do: empty in a release."""
        return [*self._collisions(), *(line for kind in self.kinds.values() for line in _problems(kind))]

    def _collisions(self) -> Iterator[str]:
        seen: dict[int, tuple[str, str]] = {}
        for release in (self.envelope, *self.releases()):
            form, name = to_parsing_canonical_form(release.schema), f"{release.type} v{release.version}"
            before, other = seen.setdefault(release.id, (form, name))
            if before != form:
                yield f"{name} and {other} have the same schema id {release.id}: rename a field of the newer one"


@cache
def _loaded(package: str) -> Catalogue:
    catalogue = Catalogue.read(package)
    if problems := catalogue.problems():
        raise CatalogueError("; ".join(problems))
    return catalogue


def _context(module_name: str, folder: Path) -> dict[str, Kind]:
    module = importlib.import_module(module_name)
    context = module_name.rsplit(".", 1)[-1]
    kinds = {
        cls.__event_type__: Kind(cls.__event_type__, cls, folder)
        for cls in vars(module).values()
        if isinstance(cls, type) and hasattr(cls, "__event_type__") and cls.__module__ == module_name
    }
    for path in sorted(folder.glob("*.avsc")):
        if (match := _RELEASE.fullmatch(path.name)) is None:
            raise CatalogueError(f"{context}/{path.name}: a release is named <Event>.v<N>.avsc")
        name, version = f"{context}.{match[1]}", int(match[2])
        kind = kinds.setdefault(name, Kind(name, None, folder))
        kind.releases[version] = Release.of(name, version, json.loads(path.read_text(encoding="utf-8")))
    if (folder / "upcasts.py").exists():
        for (event, version), step in importlib.import_module(f"{module_name}.upcasts").upcasts.items():
            if (lifted := kinds.get(f"{context}.{event}")) is None:
                raise CatalogueError(f"{context}/upcasts.py lifts {event}, which is no event of {context}")
            lifted.upcasts[version] = step
    return kinds


def _problems(kind: Kind) -> Iterator[str]:
    if kind.cls is None:
        yield f"{kind.type} was released, but has no class: old events could not be read; bring it back"
        return
    version = kind.cls.__event_version__
    if version != kind.newest:
        verb = "is not released" if version > kind.newest else f"is older than the released v{kind.newest}"
        yield f"{kind.type} v{version} {verb}: run `epicrisis schema release`, or correct the version of the class"
    elif undocumented(kind.shape.schema) != undocumented(kind.releases[version].schema):
        yield f"{kind.type} v{version} was changed after its release: make it version {version + 1}, then release it"
    if sorted(kind.releases) != list(range(1, kind.newest + 1)):
        yield f"{kind.type}: versions {sorted(kind.releases)} have a hole"
    for newer in kind.releases:
        for older in range(1, newer):
            if older in kind.releases:
                lines = incompatibilities(kind.releases[newer].schema, kind.releases[older].schema)
                yield from (f"{kind.type} v{newer} cannot read v{older}: {line}" for line in lines)
    for step in range(1, kind.newest):
        if step not in kind.upcasts:
            yield f"{kind.type}: upcasts.py does not lift v{step} to v{step + 1}"


def plain(schema: Any) -> Any:
    """The schema without logical types: on the hot path times are longs and UUIDs bytes."""
    return _without(schema, frozenset({"logicalType", "doc"}))


def undocumented(schema: Any) -> Any:
    """The schema without its docs, which may be improved after the release."""
    return _without(schema, frozenset({"doc"}))


def _without(schema: Any, keys: frozenset[str]) -> Any:
    match schema:
        case dict():
            kept = {name: part for name, part in schema.items() if name not in keys}
            rest = {name: part if name == "default" else _without(part, keys) for name, part in kept.items()}
            return rest["type"] if rest.keys() == {"type"} and "logicalType" in keys else rest
        case list():
            return [_without(part, keys) for part in schema]
        case _:
            return schema


def _word(type: str) -> str:
    """An event type fit for a message: anything else may be garbage, or worse."""
    return type if re.fullmatch(r"\w{1,60}\.\w{1,60}", type, re.ASCII) else "an unnameable type"
