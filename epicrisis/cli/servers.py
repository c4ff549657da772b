"""`epicrisis up | down | status | doctor`: the servers on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, emit

if TYPE_CHECKING:
    from epicrisis.local import Part
    from epicrisis.settings import Settings

PART_COLUMNS = ("name", "state", "where", "pid")


@app.command(epilog="Example: epicrisis up --roles && epicrisis status")
def up(
    roles: Annotated[
        bool, typer.Option("--roles", help="Then provision, and start every role in the background.")
    ] = False,
) -> None:
    """Start Kafka and PostgreSQL on this machine. May be repeated."""
    from epicrisis import local
    from epicrisis.local.jars import cached
    from epicrisis.settings import Settings

    settings = Settings.read()
    began = time.monotonic()
    if settings.local_kafka and not cached():
        typer.echo("fetching Apache Kafka from Maven Central (45 MB, once)")
    local.up(settings)
    parts = local.status(settings)
    if roles:
        parts += _start_roles(settings)
    for part in parts:
        typer.echo(f"{part.name}: {part.state}" + (f" at {part.where}" if part.where else ""))
    if not roles:
        typer.echo("next: `epicrisis provision`, then the roles; or both at once with `epicrisis up --roles`")
    typer.echo(f"up after {time.monotonic() - began:.1f} s; `epicrisis down` stops, `epicrisis doctor` looks closer")


def _start_roles(settings: Settings) -> list[Part]:
    from epicrisis import logging
    from epicrisis.local import operators, roles
    from epicrisis.provision import provision

    logging.configure("provision")
    operators.make(settings)
    provision(settings)
    roles.up(settings)
    return roles.status(settings)


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
    """Show which servers and roles run on this machine, and where."""
    from dataclasses import asdict

    from epicrisis import local
    from epicrisis.local import roles
    from epicrisis.settings import Settings

    settings = Settings.read()
    emit((asdict(part) for part in local.status(settings) + roles.status(settings)), PART_COLUMNS, format)


@app.command(epilog="Example: epicrisis doctor --format json")
def doctor(format: FormatOption = Format.TABLE) -> None:
    """Examine every part: is it reachable, which version, what to do if not. Exit code 0 if all is well."""
    from epicrisis.cli.doctor import COLUMNS, examine

    findings = list(examine())
    emit((finding.row() for finding in findings), COLUMNS, format)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
