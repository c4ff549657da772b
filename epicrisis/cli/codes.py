"""`epicrisis codes`: local codes, for whoever keeps the operators' code maps."""

from __future__ import annotations

from typing import Annotated

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit

codes = typer.Typer(help="Local codes that no code map has, and the code maps themselves.", no_args_is_help=True)
app.add_typer(codes, name="codes")


@codes.command("unmapped", epilog="Example: epicrisis codes unmapped --operator charite --format csv > to-do.csv")
def unmapped(
    operator: Annotated[str | None, typer.Option(help="Only this operator's.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """List the local codes that were let in, and that the operator's code map does not have, most frequent first."""
    from epicrisis.assembly import unmapped_codes
    from epicrisis.settings import Settings

    rows = [one._asdict() for one in unmapped_codes(Settings.read()) if operator in (None, one.operator)]
    columns = ("operator", "system", "code", "messages", "first", "last")
    emit(rows, columns, format, title=f"{counted(len(rows), 'code')} without a mapping")


@codes.command("check", epilog="Example: epicrisis codes check")
def check(format: FormatOption = Format.TABLE) -> None:
    """Read every operator's code map, and say what is in it; a wrong line is named."""
    from epicrisis.intake.terms import code_map
    from epicrisis.operators import read_operators
    from epicrisis.settings import Settings

    operators = read_operators(Settings.read().operators_folder)
    rows = [
        {"operator": name, "file": one.codes or "none", "codes": len(code_map(one))} for name, one in operators.items()
    ]
    emit(rows, ("operator", "file", "codes"), format)
