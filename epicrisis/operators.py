"""The operators of the cluster, as they are described in files: one folder each, the folder's name is the operator's.

    operators/<operator>/manifest.toml      who it is, its clinics, and by which front doors they come in
    operators/<operator>/…                  what the manifest names: public keys, code map, mapping tables

Everything in it is data that an integration engineer writes, reads and reviews. No secret is in it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from epicrisis.errors import SettingsError

MANIFEST = "manifest.toml"

Word = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""The name of an operator or of a site: it stands in ids, topics and logs."""


class Client(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A system that comes in over HTTP, by SMART Backend Services (https://hl7.org/fhir/smart-app-launch)."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    clinic: Word
    scopes: tuple[str, ...]
    """What it may ask for at most, e.g. ``system/*.cruds``."""
    jwks: str
    """The file with its public keys (RFC 7517), beside the manifest."""


class Sender(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A system that sends HL7 v2: whose MSH-3 and MSH-4 these are, it writes for this clinic."""

    clinic: Word
    application: str = ""
    """The namespace of MSH-3; empty: any."""
    facility: str = ""
    """The namespace of MSH-4; empty: any."""
    certificate: str = ""
    """The SHA-256 fingerprint of its client certificate, in hex; empty where TLS is off."""


class Topic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operator's Kafka inbox: who writes into it, writes for this clinic unless a header names another."""

    clinic: Word
    partitions: Annotated[int, Meta(ge=1, le=64)] = 1


class Operator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An organisation that joined. ``name`` and ``folder`` come from where its manifest is."""

    title: str
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    clinics: Annotated[tuple[Word, ...], Meta(min_length=1)]
    """The sites; a clinic is ``operator/site``."""
    client: tuple[Client, ...] = ()
    mllp: tuple[Sender, ...] = ()
    inbox: Topic | None = None
    codes: str = ""
    """The file of its code map, beside the manifest (docs/how-to/local-codes.md)."""
    checks: tuple[str, ...] = ()
    """Checks of its own profiles, run behind the gate: names of entry points in the group ``epicrisis.checks``."""
    hl7v2: str = ""
    """The folder of its own HL7 v2 mapping tables, beside the manifest."""
    name: str = ""
    folder: Path = Path()

    def clinic(self, site: str) -> str:
        """``operator/site``."""
        return f"{self.name}/{site}"

    def read(self, name: str) -> bytes:
        """A file beside the manifest.

        Raises
        ------
        SettingsError
            It is not there, or not in the operator's own folder.
        """
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise SettingsError(f"{self.folder / MANIFEST}: {name} is outside the operator's folder")
        try:
            return path.read_bytes()
        except OSError as problem:
            raise SettingsError(f"{path}: cannot be read: {problem.strerror}") from None


def read_operators(folder: Path) -> Mapping[str, Operator]:
    """Every operator by name; none where there is no such folder.

    Raises
    ------
    SettingsError
        A manifest is wrong: names the file, the place in it, and what is expected.
    """
    found = sorted(path for path in folder.glob(f"*/{MANIFEST}") if path.is_file())
    read = {path.parent.name: _operator(path) for path in found}
    _each_once(read)
    return read


def _operator(path: Path) -> Operator:
    try:
        given: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        if extra := {"name", "folder"} & set(given):
            raise SettingsError(f"{path}: leave out {', '.join(sorted(extra))}: the folder says it")
        name = msgspec.convert(path.parent.name, Word)
        made = msgspec.convert(given, Operator)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as problem:
        raise SettingsError(f"{path}: {problem}") from None
    doors: list[Client | Sender | Topic] = [*made.client, *made.mllp, *([made.inbox] if made.inbox else [])]
    if missing := sorted({door.clinic for door in doors} - set(made.clinics)):
        raise SettingsError(f"{path}: a front door names the clinic {missing[0]}, which `clinics` does not list")
    return msgspec.structs.replace(made, name=name, folder=path.parent)


def _each_once(operators: Mapping[str, Operator]) -> None:
    """A client id, and a pair of MSH-3 and MSH-4, belongs to one operator."""
    owners: dict[object, str] = {}
    for operator in operators.values():
        named: list[object] = [f"the client {c.id}" for c in operator.client]
        named += [f"the HL7 v2 sender {s.application!r} | {s.facility!r}" for s in operator.mllp if not s.certificate]
        for what in named:
            if what in owners:
                raise SettingsError(f"{operator.folder / MANIFEST}: {what} is there twice, also in {owners[what]}")
            owners[what] = operator.name
