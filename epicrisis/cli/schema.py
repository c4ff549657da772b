"""`epicrisis schema`: the released Avro schemas of the published language."""

from __future__ import annotations

import typer

from epicrisis.cli.app import app, fail
from epicrisis.cli.output import Format, FormatOption, emit

schema = typer.Typer(help="The released Avro schemas: list, check, release.", no_args_is_help=True)
app.add_typer(schema, name="schema")


@schema.command("list", epilog="Example: epicrisis schema list --format json")
def list_schemas(format: FormatOption = Format.TABLE) -> None:
    """List every released schema with its id."""
    from epicrisis.codec.catalogue import Catalogue

    catalogue = Catalogue.read()
    rows = [
        {"type": release.type, "version": release.version, "id": release.id}
        for release in (catalogue.envelope, *catalogue.releases())
    ]
    emit(rows, ("type", "version", "id"), format)


@schema.command(epilog="Example: epicrisis schema check")
def check() -> None:
    """Check classes, releases, upcasts and ids against one another. Exit code 1 where they do not agree."""
    from epicrisis.codec.catalogue import Catalogue

    catalogue = Catalogue.read()
    if problems := catalogue.problems():
        fail("\n  ".join(["the schemas do not agree:", *problems]))
    typer.echo(f"{sum(1 for _ in catalogue.releases())} released schemas of {len(catalogue.kinds)} event types agree")


@schema.command(epilog="Example: epicrisis schema release")
def release() -> None:
    """Write an .avsc file for every event class whose version is not released yet. Never changes a file."""
    from epicrisis.codec.catalogue import Catalogue
    from epicrisis.codec.release import release_all

    for path in release_all(Catalogue.read()):
        typer.echo(f"released {path}")
    check()
