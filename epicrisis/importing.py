"""Import files: read, check and take in their messages, in order."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from epicrisis.assembly import collecting_seldom
from epicrisis.errors import Malformed, Refused
from epicrisis.fhir.gate import Checked, Gate
from epicrisis.fhir.limits import Limits
from epicrisis.fhir.read import Document, OnRead, open_documents
from epicrisis.fhir.values import absent
from epicrisis.intake import Intake, Receipt
from epicrisis.intake.check import check

DOOR = "file"
_SENDER = "urn:epicrisis:clinic:"
_CLINIC = re.compile(r"[a-z0-9_-]{1,64}/[A-Za-z0-9._-]{1,64}\Z").match
_SUFFIXES = (".json", ".json.gz", ".ndjson", ".ndjson.gz")


@dataclass(slots=True)
class Report:
    """What went in and what was refused."""

    messages: int = 0
    repeated: int = 0
    resources: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Ready:
    """A document on its way in. ``taken``: how many messages had gone in when it was refused; ``waits``: it may go in
    after others.
    """

    path: Path
    place: str
    line: int | None = None
    document: Document | None = None
    checked: Checked | None = None
    why: str = ""
    taken: int = 0
    waits: bool = False


def files(paths: Iterable[Path]) -> list[Path]:
    """The files to import, folders in the order of their names.

    Raises
    ------
    Refused
        A path does not exist, is neither file nor folder, or cannot be read; or there is nothing to import.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in _inside(path) if p.name.endswith(_SUFFIXES) and p.is_file())
        elif path.is_file():
            found.append(path)
        elif path.exists():
            raise Refused(f"{path}: only files and folders are read, because some are read twice: save it as a file")
        else:
            raise Refused(f"{path}: there is no such file or folder")
    if not found:
        raise Refused(f"nothing to import: looked for {', '.join(_SUFFIXES)}")
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> Iterator[Path]:
    """Whatever lies in a folder and its folders; links to folders are not followed."""

    def closed(error: OSError) -> None:
        raise Refused(f"{error.filename}: cannot be read: {error.strerror}; nothing was imported") from None

    for at, _, names in os.walk(folder, onerror=closed):
        yield from (Path(at, name) for name in names)


def import_files(
    paths: list[Path],
    intake: Intake,
    *,
    operator: str,
    clinic: str,
    from_source: bool = True,
    limits: Limits | None = None,
    on_read: OnRead = lambda _: None,
) -> Report:
    """Take every message of these files in. One that is refused is tried again at the end: what it needed may have
    come after it.

    ``from_source``: a Bundle's ``meta.source`` may name the clinic that sends it.
    """
    report = Report()
    with collecting_seldom():
        refused = [*_take(_read(paths, limits, on_read), intake, report, operator, clinic, from_source)]
        while any(one.waits and one.taken < report.messages for one in refused):
            refused = [*_take(_again(refused, limits), intake, report, operator, clinic, from_source)]
    report.refused = [(one.place, one.why) for one in refused]
    return report


def _take(
    ready: Iterable[_Ready], intake: Intake, report: Report, operator: str, clinic: str, from_source: bool
) -> Iterator[_Ready]:
    """Take messages in; yields those that are refused, in the same order. Where nothing else went in since a message
    was refused, it is not asked again.
    """
    for one in ready:
        if one.document is None:
            yield one
            continue
        if one.waits and one.taken == report.messages:
            yield replace(one, document=None)
            continue
        try:
            checked = one.checked or intake.check(one.document.raw)
            sender = _sender(checked) if from_source else None
            op, at = (sender.split("/", 1)[0], sender) if sender else (operator, clinic)
            receipt = intake.receive(one.document.raw, operator=op, clinic=at, door=DOOR, checked=checked)
        except Refused as problem:
            yield _Ready(one.path, one.place, one.line, why=str(problem), taken=report.messages, waits=True)
        else:
            _count(report, checked, receipt)


def _count(report: Report, checked: Checked, receipt: Receipt) -> None:
    report.messages += 1
    if receipt.repeated:
        report.repeated += 1
        return
    report.resources.update(e.resource_type for e in checked.entries if e.resource_type)
    report.events.update(receipt.events)


def _sender(checked: Checked) -> str | None:
    meta = getattr(checked.parsed, "meta", None)
    if checked.resource_type != "Bundle" or absent(meta) or meta is None or absent(meta.source):
        return None
    source: str = meta.source
    if not source.startswith(_SENDER):
        return None
    clinic = source.removeprefix(_SENDER)
    if not is_clinic(clinic):
        raise Malformed("a clinic is operator/site: small letters, digits, _ and -, and one /", "Bundle.meta.source")
    return clinic


def is_clinic(text: str) -> bool:
    """Whether this can name a clinic: ``operator/site``."""
    return _CLINIC(text) is not None


def _read(paths: list[Path], limits: Limits | None, on_read: OnRead) -> Iterator[_Ready]:
    """Read and check file by file, in order. A thread that did so ahead cost more than the waiting that it saved."""
    gate = Gate(limits)
    for path in paths:
        yield from _documents(path, gate, limits, on_read)


def _documents(path: Path, gate: Gate, limits: Limits | None, on_read: OnRead) -> Iterator[_Ready]:
    try:
        for document in open_documents(path, limits, on_read):
            place = str(path) + document.place.removeprefix(path.name)
            try:
                yield _Ready(path, place, document.line, document, check(gate, document.raw))
            except Refused as problem:
                yield _Ready(path, place, why=str(problem))
    except Malformed as problem:  # it names the file, and the line where there is one
        yield _Ready(path, str(path) + problem.where.removeprefix(path.name), why=problem.message)
    except OSError as problem:
        yield _Ready(path, str(path), why=f"cannot be read: {problem.strerror}")


def _again(refused: Iterable[_Ready], limits: Limits | None) -> Iterator[_Ready]:
    """Those that were refused, with the documents of those that wait: read again, because all of a bulk export may wait
    for the patients that come after it. What is no longer there waits no more.
    """
    for path, some in groupby(refused, key=lambda one: one.path):
        of_file = list(some)
        lines = {one.line for one in of_file if one.waits}
        documents = _of_lines(path, lines, limits) if lines else iter(())
        for one in of_file:
            document = next(documents, None) if one.waits else None
            yield replace(one, document=document, waits=document is not None)


def _of_lines(path: Path, lines: Collection[int | None], limits: Limits | None) -> Iterator[Document]:
    with suppress(Malformed, OSError):
        for document in open_documents(path, limits):
            if document.line in lines:
                yield document
