"""`epicrisis rebuild`: read models made anew from the ledger."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import WARNING
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, emit

if TYPE_CHECKING:
    from epicrisis.rebuild import Outcome

COLUMNS = ("projection", "generation", "state", "table", "rows_before", "rows", "changed", "parked", "digest")


@app.command(epilog="Example: epicrisis rebuild clinic_patients cluster_activity --workers 4")
def rebuild(
    projections: Annotated[
        list[str] | None, typer.Argument(metavar="PROJECTION...", help="Which read models; with --subject: all.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Only this patient's rows, in place: the cluster's id of the patient.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many processes fill it. Default: as many as processors, fewer for little."),
    ] = None,
    accept_difference: Annotated[
        bool, typer.Option("--accept-difference", help="Swap though the live one differs: it is the wrong one.")
    ] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Read the former generation again.")] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Drop former generations.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Drop the new generation, which is not read yet.")] = False,
    wait: Annotated[float, typer.Option(help="So many seconds at most for workers to catch up.")] = 60,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make read models anew from the ledger, beside the live ones; compare; swap. Killed, run it again: it goes on.

    Workers go on meanwhile, and readers never wait. Exit code 1 where the live one differs from the ledger, which is
    shown, and not swapped without --accept-difference.
    """
    from epicrisis import logging
    from epicrisis import rebuild as made
    from epicrisis.errors import Refused
    from epicrisis.projecting.generations import BUILDING, READY, RETIRED
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    if rollback + drop_old + cancel + accept_difference > 1:
        raise typer.BadParameter("--rollback, --drop-old, --cancel and --accept-difference go one at a time")
    logging.configure("rebuild", level=WARNING)
    settings, names = Settings.read(), list(dict.fromkeys(projections or ()))
    if subject is not None:
        if rollback or drop_old or cancel or accept_difference:
            raise typer.BadParameter("--subject mends in place: there is nothing to swap")
        mended = made.rebuild_subject(settings, subject_of(subject), names)
        emit([one._asdict() for one in mended], made.Mended._fields, format)
        return
    if not names:
        raise typer.BadParameter("name the read models, for instance clinic_patients")
    if rollback:
        for name in names:
            live, former = made.rollback(settings, name, wait=wait)
            typer.echo(f"{name}: {live} is read again, and {former} is kept")
        return
    if drop_old or cancel:
        gone = made.drop(settings, names, *((RETIRED,) if drop_old else (BUILDING, READY)))
        if not gone:
            raise Refused(f"nothing to drop: {', '.join(names)} have no {'former' if drop_old else 'new'} generation")
        typer.echo(f"dropped: {', '.join(gone)}")
        return
    with _progress() as on_progress:
        outcomes = made.rebuild(
            settings,
            names,
            workers=workers,
            wait=wait,
            accept=accept_difference,
            on_progress=on_progress,
        )
    emit([row for outcome in outcomes for row in _rows(outcome)], COLUMNS, format)
    if any(row.live is None for outcome in outcomes for row in outcome.tables):
        typer.echo("now start the workers of this release: those of the former one do not follow it", err=True)
    differing = [outcome.projection for outcome in outcomes if outcome.state != "live"]
    if differing:
        typer.echo(
            f"not swapped: what is read of {', '.join(differing)} is not what the ledger says. Look into both schemas, "
            "then swap with --accept-difference, or drop the new one with --cancel",
            err=True,
        )
        raise typer.Exit(1)


def _rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for table in outcome.tables:
        yield {
            "projection": outcome.projection,
            "generation": outcome.generation,
            "state": outcome.state,
            "table": table.table,
            "rows_before": "another version" if table.live is None else table.live.rows,
            "rows": table.new.rows,
            "changed": table.changed,
            "parked": outcome.parked,
            "digest": table.new.sum,
        }


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time left on stderr where that is a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        last = [0.0]

        def line(what: str, done: int, total: int) -> None:
            if time.monotonic() - last[0] > 5:
                last[0] = time.monotonic()
                typer.echo(f"{done:,} of {total:,} {what}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield step
