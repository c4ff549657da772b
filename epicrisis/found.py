"""Services and projections are found by folder: to add one is to add a folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from epicrisis.decider import Service
from epicrisis.errors import SettingsError
from epicrisis.projection import Projection


@cache
def services() -> dict[str, Service]:
    """Every folder of ``services/``, by name."""
    return {name: importlib.import_module(f"services.{name}").service for name in _folders("services")}


def services_named(names: Iterable[str]) -> list[str]:
    """The names of these services, or of all where none is named.

    Raises
    ------
    SettingsError
        There is none of one of these names.
    """
    wanted = list(names) or list(services())
    if unknown := [name for name in wanted if name not in services()]:
        raise SettingsError(f"no service {', '.join(unknown)}; there are: {', '.join(services())}")
    return wanted


@cache
def takers() -> dict[str, Service]:
    """Those of them that intake asks, and has to have the passwords of."""
    return {name: service for name, service in services().items() if service.takes}


@cache
def projections() -> dict[str, Projection]:
    """Every folder of ``projections/``, by name."""
    return {name: importlib.import_module(f"projections.{name}").projection for name in _folders("projections")}


def projection(name: str) -> Projection:
    """One projection by name.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    try:
        return projections()[name]
    except KeyError:
        raise SettingsError(f"no projection {name!r}; there are: {', '.join(sorted(projections()))}") from None


def text_of(package: str, name: str) -> str | None:
    """A data file beside a package's code, or None where it has none."""
    path = files(package) / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def sql_of(projection: Projection) -> tuple[str, str | None]:
    """A projection's ``tables.sql`` and, where it has one, its ``reads.sql``."""
    package = f"projections.{projection.name}"
    return text_of(package, "tables.sql") or "", text_of(package, "reads.sql")


def _folders(package: str) -> list[str]:
    found = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(found.__path__) if m.ispkg)
