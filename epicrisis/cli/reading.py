"""`epicrisis read | lag | parked`: look at read models, and at what is not there yet."""

from __future__ import annotations

from typing import Annotated

import typer

from epicrisis.cli.accesses import As, Reason, of_rows, record
from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit

parked = typer.Typer(help="Subjects set aside after a failure, and records that belong to no subject.")
app.add_typer(parked, name="parked")

RECORD = ("partition", "offset", "key", "bytes", "reason", "since", "now")


@app.command(epilog="Example: epicrisis read clinic_referrals --clinic charite/onco --where status=accepted")
def read(
    projection: Annotated[str, typer.Argument(help="The read model, e.g. clinic_patients.")],
    clinic: Annotated[str | None, typer.Option(help="As this clinic sees it (operator/site).")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="column=value, as the table shows it; empty: without one. May be repeated.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Only these columns: a,b,c.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many rows.", min=0)] = None,
    as_: As = None,
    reason: Reason = "",
    format: FormatOption = Format.TABLE,
) -> None:
    """Show a read model. Whose rows are shown is recorded (`epicrisis access`)."""
    from epicrisis.readmodel import conditions, find
    from epicrisis.readmodel import read as rows_of
    from epicrisis.settings import Settings

    found, table = find(projection)
    chosen = [name.strip() for name in (columns or "").split(",") if name.strip()]
    whose = [name for name in ("subject", "source", "patient") if chosen and name in table.columns]
    settings = Settings.read()
    names, rows = rows_of(
        settings,
        found,
        table=table,
        clinic=clinic,
        where=conditions(where or []),
        columns=list(dict.fromkeys([*chosen, *whose])),
        limit=limit,
    )
    if patients := of_rows(rows):
        said = [projection, f"--clinic {clinic}" if clinic else "", *(where or [])]
        record(settings, "read", patients, by=as_, reason=reason, asked=" ".join(filter(None, said)))
    emit(rows, chosen or names, format, title=f"{projection}: {counted(len(rows), 'row')}")


@app.command(epilog="Example: epicrisis import first.json && epicrisis lag --wait 30")
def lag(
    wait: Annotated[float | None, typer.Option(help="Wait so many seconds at most until all is readable.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show what is not readable yet: journal → log → ledger and read models. With --wait, exit code 1 if it lasts."""
    from epicrisis.lag import Lag
    from epicrisis.settings import Settings

    behind = Lag(Settings.read())
    try:
        if wait is not None:
            behind.wait(wait, behind.current())
        rows = [
            {"from": "journal", "to": "log", "name": name, "behind": slices, "unit": "slices with news"}
            for name, slices in behind.relay().items()
        ]
        applied, records = behind.consumers(), behind.records()
        rows += [
            {"from": "log", "to": "rows", "name": name, "behind": applied.get(name, records), "unit": "records"}
            for name in behind.current()
        ]
        rows += [
            {"from": "ledger", "to": "rows", "name": name, "behind": parts, "unit": "parts of a rebuild"}
            for name, parts in behind.building().items()
        ]
        emit(rows, ("from", "to", "name", "behind", "unit"), format)
    finally:
        behind.close()


@parked.command("list", epilog="Example: epicrisis parked list --format ndjson")
def parked_list(format: FormatOption = Format.TABLE) -> None:
    """List parked subjects and records set aside."""
    from epicrisis.parked import listing
    from epicrisis.settings import Settings

    rows = listing(Settings.read())
    columns = ("consumer", "subject", "partition", "offset", "events", "reason", "since")
    emit(rows, columns, format, title=f"{len(rows)} parked")


@parked.command(
    "show", epilog="Examples: epicrisis parked show 0192f…; epicrisis parked show --partition 3 --offset 17"
)
def parked_show(
    subject: Annotated[str | None, typer.Argument(help="The subject.")] = None,
    partition: Annotated[int | None, typer.Option(help="Of a record that was set aside.")] = None,
    offset: Annotated[int | None, typer.Option(help="Of a record that was set aside.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show the queue of a parked subject, or a record that was set aside: what it is, without its content."""
    from epicrisis.parked import queue, record
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    if (place := _place(partition, offset)) is not None:
        emit([record(Settings.read(), *place)], RECORD, format)
        return
    if subject is None:
        raise typer.BadParameter("name a subject, or a record's --partition and --offset")
    columns = ("consumer", "partition", "offset", "source", "seq", "type", "stream", "recorded", "reason")
    emit(queue(Settings.read(), subject_of(subject)), columns, format)


@parked.command("retry", epilog="Example: epicrisis parked retry --projection clinic_referrals")
def parked_retry(
    subject: Annotated[str | None, typer.Argument(help="Only this subject.")] = None,
    projection: Annotated[str | None, typer.Option(help="Only for this projection, or `ledger`.")] = None,
    partition: Annotated[int | None, typer.Option(help="Of a record that was set aside.")] = None,
    offset: Annotated[int | None, typer.Option(help="Of a record that was set aside.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Apply the queues of parked subjects in order, as far as they go. Exit code 1 if some still wait.

    With --partition and --offset: apply a record that was set aside, if this release can read it.
    """
    from epicrisis.parked import retry, retry_record
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    if (place := _place(partition, offset)) is not None:
        if subject is not None or projection is not None:
            raise typer.BadParameter("a record that was set aside is applied for everybody: name nobody with it")
        emit(retry_record(Settings.read(), *place), ("consumer", "subject", "outcome"), format)
        return
    rows = retry(Settings.read(), subject_of(subject) if subject else None, projection)
    emit(rows, ("consumer", "subject", "applied", "waiting"), format)
    if any(row["waiting"] for row in rows):
        raise typer.Exit(1)


def _place(partition: int | None, offset: int | None) -> tuple[int, int] | None:
    if partition is not None and offset is not None:
        return partition, offset
    if partition is not None or offset is not None:
        raise typer.BadParameter("a record is named by --partition and --offset together")
    return None
