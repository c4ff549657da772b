"""`epicrisis mllp` and `epicrisis hl7v2 map`: the front door for HL7 v2, and the integration engineer's tool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, emit
from epicrisis.cli.roles import MetricsHost, MetricsPort, counted_together, listen

tool = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="HL7 v2 messages and the tables that map them.")
app.add_typer(tool, name="hl7v2")


@app.command(epilog="Example: epicrisis mllp --port 2575 --workers 2")
def mllp(
    host: Annotated[str, typer.Option(envvar="EPICRISIS_MLLP_HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="EPICRISIS_MLLP_PORT", help="Where to listen.")] = 2575,
    workers: Annotated[
        int, typer.Option(envvar="EPICRISIS_MLLP_WORKERS", help="So many processes answer.", min=1, max=64)
    ] = 1,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Take HL7 v2 messages in over MLLP until stopped (SIGTERM). Who may send is in the operators' manifests."""
    with counted_together(workers):
        from epicrisis import logging
        from epicrisis.doors.hl7v2.role import run
        from epicrisis.settings import Settings

        logging.configure("mllp")
        listen(metrics_host, metrics_port)
        run(Settings.read(), host=host, port=port, workers=workers)


@tool.command("map", epilog="Example: epicrisis hl7v2 map a01.hl7 --operator stjude")
def map_(
    file: Annotated[Path, typer.Argument(help="A file with a message, or a batch of them; - is stdin.")],
    operator: Annotated[str, typer.Option(help="With this operator's own tables over the shipped ones.")] = "",
    format: FormatOption = Format.TABLE,
) -> None:
    """Show the FHIR Bundle that each message would become, and every problem. Sends nothing. Exit code 1 if any would
    be refused.
    """
    from epicrisis.doors.hl7v2.trial import trial
    from epicrisis.errors import Refused
    from epicrisis.operators import read_operators
    from epicrisis.settings import Settings

    if str(file) != "-" and not file.is_file():
        raise Refused(f"{file}: there is no such file")
    raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    operators = read_operators(Settings.read().operators_folder) if operator else {}
    if operator and operator not in operators:
        raise Refused(f"there is no operator {operator}: see EPICRISIS_OPERATORS")
    tried = list(trial(raw, operators.get(operator)))
    for one in tried:
        if one.bundle:
            typer.echo(one.bundle)
    rows = [
        {"message": one.name, "place": str(fault.place), "severity": fault.severity, "why": fault.text}
        for one in tried
        for fault in one.faults
    ]
    if rows or format is not Format.TABLE:
        typer.echo(err=True)
        emit(rows, ("message", "place", "severity", "why"), format, title=f"problems: {len(rows)}")
    unread = sorted({segment for one in tried for segment in one.unread})
    if unread:
        typer.echo(f"no table reads these segments: {' '.join(unread)} (they are kept with the original)", err=True)
    if any(fault.severity == "E" for one in tried for fault in one.faults):
        raise typer.Exit(1)
