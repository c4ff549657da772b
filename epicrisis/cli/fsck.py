"""`epicrisis fsck`: are journals, log, ledger and read models one and the same history?"""

from __future__ import annotations

import secrets
import time
from typing import Annotated

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit, moment


@app.command(epilog="Example: epicrisis fsck --since 2026-03-01T00:00:00Z || mail -s 'look here' auditors")
def fsck(
    only: Annotated[list[str] | None, typer.Option(help="journals, log, models or proof; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="Only who had events recorded since then (FHIR dateTime).")] = None,
    sample: Annotated[int, typer.Option(help="So many subjects' read models are folded.", min=0)] = 200,
    all: Annotated[bool, typer.Option("--all", help="Every subject's, and the counters.")] = False,
    seed: Annotated[str | None, typer.Option(help="Draw the same sample again.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Compare journals, log, ledger and read models, event by event; recompute every chain. Exit code 1 if one differs.

    Nothing is changed, and what is running may go on: what has not come through yet is counted as behind, not as wrong.
    """
    from epicrisis.fsck.finding import COLUMNS
    from epicrisis.fsck.run import CHECKS
    from epicrisis.fsck.run import fsck as check
    from epicrisis.settings import Settings

    if unknown := sorted(set(only or ()) - set(CHECKS)):
        raise typer.BadParameter(f"there is no check {', '.join(unknown)}; there are: {', '.join(CHECKS)}")
    began, drawn = time.monotonic(), seed or secrets.token_hex(4)
    report = check(
        Settings.read(),
        only or CHECKS,
        since=None if since is None else moment(since),
        sample=None if all else sample,
        seed=drawn,
        on_progress=lambda what: None if format is not Format.TABLE else typer.echo(f"· {what}", err=True),
    )
    emit([one.row() for one in report.findings], COLUMNS, format, title=counted(len(report.findings), "finding"))
    for note in report.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"{counted(report.subjects, 'subject')}, {counted(report.events, 'event')}, {report.behind} behind, "
        f"{counted(report.records, 'record')} of the log, {counted(report.compared, 'subject')} folded "
        f"(seed {drawn}); {time.monotonic() - began:.1f} s",
        err=True,
    )
    if report.findings:
        raise typer.Exit(1)
