"""`epicrisis schema`: the released Avro schemas of the published language."""

from __future__ import annotations

import typer

from epicrisis.cli.app import app, fail
from epicrisis.cli.output import Format, FormatOption, emit

schema = typer.Typer(help="The released Avro schemas: list, check, release.", no_args_is_help=True)
app.add_typer(schema, name="schema")


@schema.command("list")
def list_schemas(format: FormatOption = Format.TABLE) -> None:
    """List every released schema with its id.

    Example: epicrisis schema list --format json
    """
    from epicrisis.codec.catalogue import Catalogue

    catalogue = Catalogue.read()
    rows = [
        {"type": release.type, "version": release.version, "id": release.id}
        for release in (catalogue.envelope, *catalogue.releases())
    ]
    emit(rows, ("type", "version", "id"), format)


@schema.command()
def check() -> None:
    """Check classes, releases, upcasts and ids against one another. Exit code 1 where they do not agree.

    Example: epicrisis schema check
    """
    from epicrisis.codec.catalogue import Catalogue

    catalogue = Catalogue.read()
    if problems := catalogue.problems():
        fail("\n  ".join(["the schemas do not agree:", *problems]))
    typer.echo(f"{sum(1 for _ in catalogue.releases())} released schemas of {len(catalogue.kinds)} event types agree")


@schema.command()
def release() -> None:
    """Write an .avsc file for every event class whose version is not released yet. Never changes a file.

    Example: epicrisis schema release
    """
    from epicrisis.codec.catalogue import Catalogue
    from epicrisis.codec.release import release_all

    for path in release_all(Catalogue.read()):
        typer.echo(f"released {path}")
    check()
