"""`epicrisis demo`: the whole way, from nothing to read models and a patient's history."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, counted, emit

if TYPE_CHECKING:
    from epicrisis.settings import Settings

SHOWN: dict[str, tuple[str, ...]] = {
    "clinic_patients": ("clinic_id", "family", "given", "birth_date", "open_problems", "last_event", "events"),
    "clinic_referrals": ("clinic_id", "direction", "from_clinic", "to_clinic", "purpose", "status", "waiting_hours"),
    "clinic_oncology_ward": ("clinic_id", "status", "stage", "from_clinic", "admitted_at", "discharged_at", "days_in"),
    "cluster_chart": ("resource_type", "resource_id", "version", "status", "code", "date", "clinic"),
    "cluster_oncology_pathway": (
        "display",
        "stage_group",
        "suspected_at",
        "confirmed_at",
        "referred_at",
        "admitted_at",
        "first_treatment_at",
        "hours_to_diagnosis",
        "hours_to_referral",
        "promise_kept",
    ),
    "cluster_activity": ("operator", "clinic", "month", "event_type", "diagnosis_group", "events"),
}
ROWS = 8


@app.command(epilog="Example: epicrisis demo --patients 100 --synthea 20 --keep")
def demo(
    patients: Annotated[int, typer.Option(help="How many simulated patients.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="The same seed makes the same patients.")] = 1,
    synthea: Annotated[int, typer.Option(help="So many patients more, made by Synthea.", min=0)] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave servers and roles running at the end.")] = False,
) -> None:
    """Servers, services, relay and workers; a simulated cluster; then its read models and one patient's history."""
    from epicrisis import local, logging
    from epicrisis.lag import Lag
    from epicrisis.ledger import LEDGER
    from epicrisis.local import operators, roles
    from epicrisis.provision import provision
    from epicrisis.settings import Settings

    logging.configure("demo")
    settings = Settings.read()
    began = time.monotonic()
    try:
        with _step("Kafka and PostgreSQL"):
            local.up(settings)
        with _step("databases, roles, topic, users"):
            operators.make(settings)
            provision(settings)
        with _step("the roles, a process each: " + ", ".join(roles.ROLES)):
            roles.up(settings)
        folder = Path(tempfile.mkdtemp(prefix="epicrisis-demo-"))
        try:
            _simulated(settings, folder, patients, seed)
            if synthea:
                _synthea(settings, folder, synthea, seed)
        finally:
            shutil.rmtree(folder)
        with _step("waiting until every event is readable"):
            lag = Lag(settings)
            lag.wait(120, [LEDGER])
            lag.close()
        _show(settings)
        typer.echo(f"\nFrom the start to here: {time.monotonic() - began:.0f} s.")
        _go_on(settings, keep)
    finally:
        if not keep:
            with _step("stopping everything (KEEP=1 or --keep leaves it running)"):
                roles.down(settings)
                local.down(settings)


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    typer.echo(f"· {what} … ", nl=False)
    yield
    typer.echo(f"{time.monotonic() - began:.1f} s")


def _simulated(settings: Settings, folder: Path, patients: int, seed: int) -> None:
    from epicrisis.simulate import messages

    with _step(f"epicrisis simulate --patients {patients} --seed {seed}"):
        for number, message in enumerate(messages(patients, seed), 1):
            (folder / f"{number:06d}-{message.name}.json").write_bytes(message.bundle)
    _import(settings, sorted(folder.glob("*.json")), "simulated/main")


def _synthea(settings: Settings, folder: Path, patients: int, seed: int) -> None:
    from epicrisis.local.synthea import generate

    with _step(f"Synthea makes {counted(patients, 'patient')}"):
        made = generate(patients, seed, folder / "synthea")
    _import(settings, made, "synthea/main")


def _import(settings: Settings, paths: list[Path], clinic: str) -> None:
    from epicrisis.assembly import intake
    from epicrisis.errors import Refused
    from epicrisis.importing import import_files

    began = time.monotonic()
    typer.echo("· epicrisis import … ", nl=False)
    report = import_files(paths, intake(settings), operator=clinic.split("/")[0], clinic=clinic)
    typer.echo(
        f"{counted(report.messages, 'message')}, {counted(report.resources.total(), 'resource')}, "
        f"{counted(report.events.total(), 'event')}, "
        f"{report.repeated} sent twice, {len(report.refused)} refused; {time.monotonic() - began:.1f} s"
    )
    if report.refused:
        raise Refused(f"the demo's own data were refused: {report.refused[0]}")


def _show(settings: Settings) -> None:
    from epicrisis.found import projections
    from epicrisis.readmodel import read

    for name in sorted(projections()):
        columns, rows = read(settings, projections()[name])
        typer.echo("")
        emit(
            _some(rows),
            SHOWN.get(name, tuple(columns)) if rows else (),
            Format.TABLE,
            title=f"{name}: {counted(len(rows), 'row')}" + (", for instance" if rows else ""),
        )
    _history(settings)


def _some(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[:: max(1, len(rows) // ROWS)][:ROWS]


def _history(settings: Settings) -> None:
    """The timeline of the patient for whom the promise was kept and who went furthest."""
    from epicrisis import replay
    from epicrisis.assembly import history_of
    from epicrisis.found import projection
    from epicrisis.readmodel import read

    _, rows = read(settings, projection("cluster_oncology_pathway"))
    best = max(rows, key=_furthest, default=None)
    if best is None:
        return
    facts = history_of(settings, best["subject"]) or []
    typer.echo("")
    columns = ("n", "effective", "clinic", "event", "what")
    emit(replay.timeline(facts), columns, Format.TABLE, title=f"epicrisis replay {best['subject']}")


def _furthest(row: dict[str, Any]) -> tuple[bool, int]:
    steps = ("suspected_at", "confirmed_at", "referred_at", "accepted_at", "admitted_at", "first_treatment_at")
    return bool(row.get("promise_kept")), sum(row.get(step) is not None for step in steps)


def _go_on(settings: Settings, keep: bool) -> None:
    from epicrisis.found import projection
    from epicrisis.local import roles
    from epicrisis.readmodel import read

    _, rows = read(settings, projection("cluster_oncology_pathway"), limit=1)
    _, roster = read(settings, projection("clinic_patients"), limit=1)
    patient = rows[0]["subject"] if rows else (roster[0]["subject"] if roster else "PATIENT")
    clinic = roster[0]["clinic_id"] if roster else "CLINIC"
    say: Callable[[str], None] = typer.echo
    say("\nGo on with (in .venv/bin, if it is not on your path):" if keep else "\nWith KEEP=1 you could go on with:")
    for command in (
        f"epicrisis read clinic_patients --clinic {clinic}",
        "epicrisis read clinic_referrals --where status=accepted --format csv",
        f"epicrisis replay {patient}",
        f"epicrisis replay {patient} --through cluster_oncology_pathway --known-at 2030-01-01T00:00:00Z --format json",
        "epicrisis parked list",
        "epicrisis import FILE-OR-FOLDER --operator yours --clinic yours/main",
        f"curl http://127.0.0.1:{roles.serve_port(settings) or 8080}/subjects",
        "epicrisis doctor",
        "epicrisis down",
    ):
        say(f"  {command}")
