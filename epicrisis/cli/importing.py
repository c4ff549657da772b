"""`epicrisis import`: FHIR files into the services."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit


@app.command("import", epilog="Example: epicrisis import bundles/ --operator charite --clinic charite/onco")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders: FHIR JSON or NDJSON, plain or gzip.")],
    operator: Annotated[str | None, typer.Option(help="Whose resources these are.")] = None,
    clinic: Annotated[
        str | None, typer.Option(help="Which clinic sends them (operator/site, or just the site).")
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Take FHIR resources in: each message wholly or not at all. Again changes nothing. Exit code 1 if any was refused.

    Without --operator and --clinic, a Bundle's meta.source says who sends it (urn:epicrisis:clinic:operator/site), else
    it comes from local/main.
    """
    from epicrisis import importing, logging
    from epicrisis.assembly import intake
    from epicrisis.errors import Refused
    from epicrisis.settings import Settings

    logging.configure("import")
    given = operator is not None or clinic is not None
    operator = operator or ((clinic or "").split("/")[0] if "/" in (clinic or "") else "local")
    clinic = clinic or "main"
    clinic = clinic if "/" in clinic else f"{operator}/{clinic}"
    if clinic.split("/")[0] != operator:
        raise Refused(f"the clinic {clinic} is not one of {operator}'s: write operator/site")
    if not importing.is_clinic(clinic):
        raise Refused("a clinic is operator/site: small letters, digits, _ and -, and one /")
    settings = Settings.read()
    found = importing.files(paths)
    began = time.monotonic()
    with _progress(sum(path.stat().st_size for path in found)) as on_read:
        report = importing.import_files(
            found, intake(settings), operator=operator, clinic=clinic, from_source=not given, on_read=on_read
        )
    seconds = time.monotonic() - began
    total = report.resources.total()
    if format is Format.TABLE:
        rows = [{"resource": kind, "count": n} for kind, n in report.resources.most_common()]
        emit(
            rows,
            ("resource", "count"),
            format,
            title=f"{counted(total, 'resource')} of {counted(report.messages, 'message')} went in",
        )
        typer.echo(
            f"events: {', '.join(f'{n} {name}' for name, n in sorted(report.events.items())) or 'none'}; "
            f"{counted(report.repeated, 'message')} known already; {len(report.refused)} refused; "
            f"{seconds:.1f} s, {total / seconds:.0f} resources/s"
        )
    refused = [{"where": place, "why": why} for place, why in report.refused]
    if refused or format is not Format.TABLE:
        emit(refused, ("where", "why"), format, title=f"refused: {len(refused)}")
    if refused:
        raise typer.Exit(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """A bar on stderr where that is a terminal, over so many bytes: one file may hold all messages."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield partial(bar.advance, task)
