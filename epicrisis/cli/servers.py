"""`epicrisis up | down | status | doctor`: the servers on this machine."""

from __future__ import annotations

import time

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, emit

PART_COLUMNS = ("name", "state", "where", "pid")


@app.command(epilog="Example: epicrisis up && epicrisis status")
def up() -> None:
    """Start Kafka and PostgreSQL on this machine. May be repeated."""
    from epicrisis import local
    from epicrisis.local.jars import cached
    from epicrisis.settings import Settings

    settings = Settings.read()
    began = time.monotonic()
    if settings.local_kafka and not cached():
        typer.echo("fetching Apache Kafka from Maven Central (45 MB, once)")
    local.up(settings)
    for part in local.status(settings):
        typer.echo(f"{part.name}: {part.state} at {part.where}")
    typer.echo(f"up after {time.monotonic() - began:.1f} s; `epicrisis down` stops, `epicrisis doctor` looks closer")


@app.command(epilog="Example: epicrisis down")
def down() -> None:
    """Stop Kafka and PostgreSQL on this machine, and the roles beside them. What they stored stays."""
    from epicrisis import local
    from epicrisis.local import roles
    from epicrisis.settings import Settings

    settings = Settings.read()
    before = roles.down(settings) + [part.name for part in local.status(settings) if part.state == "running"]
    local.down(settings)
    typer.echo(f"stopped: {', '.join(before)}" if before else "nothing was running")


@app.command(epilog="Example: epicrisis status --format json")
def status(format: FormatOption = Format.TABLE) -> None:
    """Show which servers run, and where."""
    from dataclasses import asdict

    from epicrisis import local
    from epicrisis.settings import Settings

    emit((asdict(part) for part in local.status(Settings.read())), PART_COLUMNS, format)


@app.command(epilog="Example: epicrisis doctor --format json")
def doctor(format: FormatOption = Format.TABLE) -> None:
    """Examine every part: is it reachable, which version, what to do if not. Exit code 0 if all is well."""
    from epicrisis.cli.doctor import COLUMNS, examine

    findings = list(examine())
    emit((finding.row() for finding in findings), COLUMNS, format)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
