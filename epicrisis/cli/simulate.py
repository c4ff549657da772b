"""`epicrisis simulate`: the life of a made-up cluster, as the FHIR bundles that its clinics send."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit


@app.command(epilog="Example: epicrisis simulate --patients 200 --seed 7 --out simulated && epicrisis import simulated")
def simulate(
    patients: Annotated[int, typer.Option(help="How many patients.", min=0)] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Write each bundle into this folder, numbered in the order of sending.")
    ] = None,
    mistakes: Annotated[bool, typer.Option("--mistakes", help="Add messages that have to be refused.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make up 15 operators in 6 countries and their patients, as FHIR R4 bundles. All of it is invented."""
    from epicrisis.simulate import messages

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise typer.BadParameter(f"{out} is not empty: name a new folder", param_hint="--out")
    sent: Counter[str] = Counter()
    resources: Counter[tuple[str, str]] = Counter()
    refused = 0
    for number, message in enumerate(messages(patients, seed, mistakes=mistakes), 1):
        sent[message.operator] += 1
        refused += message.expect_refused
        resources.update((message.operator, kind) for kind in message.resource_types)
        if out is not None:
            (out / f"{number:06d}-{message.name}.json").write_bytes(message.bundle)
    if format is not Format.TABLE:
        rows = ({"operator": o, "resource_type": kind, "resources": n} for (o, kind), n in sorted(resources.items()))
        emit(rows, ("operator", "resource_type", "resources"), format)
        return
    _tables(sent, resources)
    made = ((patients, "patient"), (sent.total(), "message"), (resources.total(), "resource"))
    typer.echo(", ".join(counted(number, noun) for number, noun in made), nl=False)
    typer.echo(f", {counted(refused, 'message')} to be refused" if refused else "", nl=False)
    typer.echo(f", in {out}: go on with `epicrisis import {out}`" if out else "; --out DIR writes them down")


def _tables(sent: Counter[str], resources: Counter[tuple[str, str]]) -> None:
    """What every operator sends, and how much there is of what."""
    from epicrisis.simulate.tables import table

    by_operator: Counter[str] = Counter()
    by_type: Counter[str] = Counter()
    for (operator, kind), count in resources.items():
        by_operator[operator] += count
        by_type[kind] += count
    known = table("operators")
    rows = [
        {
            "operator": row["id"],
            "name": row["name"],
            "country": known["countries"][row["country"]]["name"],
            "kind": row["kind"].replace("_", " "),
            "clinics": len(row["sites"]),
            "messages": sent[row["id"]],
            "resources": by_operator[row["id"]],
        }
        for row in known["operators"]
    ]
    emit(rows, ("operator", "name", "country", "kind", "clinics", "messages", "resources"), title="Operators")
    emit(({"type": kind, "count": n} for kind, n in by_type.most_common()), ("type", "count"), title="Resources")
