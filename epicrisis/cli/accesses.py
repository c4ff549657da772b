"""`epicrisis access | break-glass`: who looked at a record; and what every other command records that shows one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, emit, moment

if TYPE_CHECKING:
    from epicrisis.access.api import Caller
    from epicrisis.settings import Settings

break_glass = typer.Typer(help="Broken glasses: list, end, review.", no_args_is_help=True)
app.add_typer(break_glass, name="break-glass")

LOG = tuple(
    "recorded operator clinic client user_id interaction resource_type outcome purpose reason events "
    "break_glass_id".split()
)
GLASSES = tuple(
    "break_glass_id subject started until state operator clinic client user_id purpose reason accesses "
    "reviewed_by justified note".split()
)

As = Annotated[str | None, typer.Option("--as", help="Who looks; by default the user of this machine.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept, sealed, with the record that somebody looked.")]
Glass = Annotated[str, typer.Argument(help="Its id, as `epicrisis break-glass list` shows it.", metavar="ID")]


@app.command(epilog="Example: epicrisis access Patient/0192f… --since 2026-03-01 --reason 'the patient asked'")
def access(
    patient: Annotated[str, typer.Argument(help="The patient's id in the cluster.")],
    since: Annotated[str | None, typer.Option(help="Only what was recorded from then on.")] = None,
    as_: As = None,
    reason: Reason = "",
    format: FormatOption = Format.TABLE,
) -> None:
    """Show who looked at a patient's record, changed it or was refused, when and why. To ask this is recorded, too."""
    from epicrisis.access.seen import log
    from epicrisis.assembly import history_of
    from epicrisis.errors import Refused
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    settings = Settings.read()
    subject = subject_of(patient)
    rows = log(settings, subject, None if since is None else moment(since))
    if not rows and history_of(settings, subject) is None:
        raise Refused("the ledger knows no such patient: `epicrisis read clinic_patients` lists them")
    record(settings, "access", [subject], by=as_, reason=reason, asked=f"since {since}" if since else "")
    emit(rows, LOG, format, title=f"{patient}: {len(rows)} access{'' if len(rows) == 1 else 'es'}")


@break_glass.command("list", epilog="Example: epicrisis break-glass list --all --format json")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that were reviewed.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """List broken glasses, the oldest first: who may read whom, or could, and how often they did. A worklist."""
    from epicrisis.access.seen import glasses
    from epicrisis.settings import Settings

    rows = [row for row in glasses(Settings.read()) if all_ or row["reviewed"] is None]
    emit(rows, GLASSES, format, title=f"{len(rows)} to be reviewed" if not all_ else f"{len(rows)} broken")


@break_glass.command("end", epilog="Example: epicrisis break-glass end 4f0c… --reason 'the shift is over'")
def end(id: Glass, as_: As = None, reason: Reason = "") -> None:
    """End one before its time is over: nothing more is read under it."""
    _do(id, "end", as_, reason)
    typer.echo(f"ended: {id}")


@break_glass.command("review", epilog="Example: epicrisis break-glass review 4f0c… --note 'unconscious, no consent'")
def review(
    id: Glass,
    note: Annotated[str, typer.Option(help="What was found. It is kept with the patient's record.")] = "",
    unjustified: Annotated[bool, typer.Option("--unjustified", help="It was not right to break it.")] = False,
    as_: As = None,
) -> None:
    """Say whether it was right. Somebody else does it than who broke it, and once it is over."""
    _do(id, "review", as_, "", note=note, justified=not unjustified)
    typer.echo(f"reviewed: {id}")


def _do(id: str, does: Any, by: str | None, reason: str, *, note: str = "", justified: bool = True) -> None:
    from datetime import UTC, datetime
    from uuid import uuid4

    from epicrisis.access.api import Glass as What
    from epicrisis.access.seen import glasses
    from epicrisis.assembly import break_glass as opened
    from epicrisis.errors import Refused
    from epicrisis.settings import Settings

    settings = Settings.read()
    found = [row["subject"] for row in glasses(settings) if row["break_glass_id"] == id]
    if not found:
        raise Refused("there is no such break-glass: `epicrisis break-glass list --all` shows them")
    opened(settings).do(
        What(
            id=UUID(id),
            event=uuid4(),
            does=does,
            when=datetime.now(UTC),
            who=caller(by, reason),
            patient=found[0],
            door=_machine(),
            justified=justified,
            note=note,
        )
    )


def record(
    settings: Settings,
    command: str,
    patients: Iterable[UUID],
    *,
    by: str | None,
    reason: str,
    asked: str = "",
    export: bool = False,
) -> None:
    """Record that this command shows these patients' data; before it does.

    Raises
    ------
    NotRecorded
        Then nothing may be shown.
    """
    from datetime import UTC, datetime

    from epicrisis.access.api import Accessed
    from epicrisis.assembly import recorder

    accessed = Accessed()
    accessed.named(patients)
    some = accessed.accesses(
        caller(by, reason),
        now=datetime.now(UTC),
        door=_machine(),
        interaction=command,
        action="R" if export else "E",
        asked=" ".join(filter(None, ("epicrisis", command.replace("-", " "), asked))),
    )
    recorder(settings).record(some)


def of_rows(rows: Sequence[dict[str, Any]]) -> list[UUID]:
    """The patients whose rows these are: not entries of the directory, nor callers."""
    found = (row for row in rows if row.get("source") != "directory" and row.get("patient") is not False)
    return list(dict.fromkeys(row["subject"] for row in found if isinstance(row.get("subject"), UUID)))


def caller(by: str | None, reason: str) -> Caller:
    """Whoever calls a command, for nobody's clinic."""
    from epicrisis.access.api import Caller

    return Caller(
        operator="cluster",
        clinic="cluster/command-line",
        client="command line",
        user=by or user(),
        reason=reason,
        address=_machine(),
    )


def user() -> str:
    """The user of this machine."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _machine() -> str:
    import socket

    return socket.gethostname() or "unknown"
