"""`epicrisis quarantine`: what the doors refused, and what becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from epicrisis.cli.accesses import As, Reason, record
from epicrisis.cli.accesses import user as _user
from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit

if TYPE_CHECKING:
    from epicrisis.quarantine import Held
    from epicrisis.settings import Settings

quarantine = typer.Typer(help="What the doors refused: list, show, send again, discard.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")

LIST = ("id", "operator", "clinic", "door", "first", "last", "times", "bytes", "problems", "state")
SETTLED = (*LIST, "settled", "by", "reason", "message")
PROBLEM = ("severity", "code", "expression", "text")
SHOWN = 3

Operator = Annotated[str | None, typer.Option(help="Only this operator's, as it sees them. Not given: everybody's.")]
Ids = Annotated[list[str], typer.Argument(help="Ids, as `epicrisis quarantine list` shows them.", metavar="ID...")]
By = Annotated[str | None, typer.Option(help="Who does it; by default the user of this machine.")]


class State(StrEnum):
    WAITING = "waiting"
    RESUBMITTED = "resubmitted"
    DISCARDED = "discarded"
    ALL = "all"


@quarantine.command("list", epilog="Example: epicrisis quarantine list --operator charite --format json")
def list_(
    operator: Operator = None,
    state: Annotated[State, typer.Option(help="What became of it.")] = State.WAITING,
    limit: Annotated[int, typer.Option(help="At most so many, the oldest first.", min=1)] = 100,
    format: FormatOption = Format.TABLE,
) -> None:
    """List refused messages: codes and places of what was wrong, never their content."""
    from epicrisis.assembly import quarantine as kept
    from epicrisis.settings import Settings

    wanted = None if state is State.ALL else state.value
    rows = kept(Settings.read(), "auditor" if operator is None else "reader").rows(operator, state=wanted, limit=limit)
    columns = LIST if state is State.WAITING else SETTLED
    emit((_row(row, format) for row in rows), columns, format, title=counted(len(rows), "message"))


@quarantine.command(epilog="Example: epicrisis quarantine show 4f0c… --raw > message.json")
def show(
    id: Annotated[str, typer.Argument(help="The message's id.")],
    operator: Operator = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the message to stdout, as it came, and nothing else.")
    ] = False,
    as_: As = None,
    reason: Reason = "",
    format: FormatOption = Format.TABLE,
) -> None:
    """Unseal a refused message, and list all that is wrong with it today. Not its content, unless --raw asks for it."""
    from epicrisis import logging
    from epicrisis.assembly import quarantine as kept
    from epicrisis.doors.again import ways
    from epicrisis.settings import Settings

    logging.configure("quarantine")
    settings = Settings.read()
    found = kept(settings, "auditor")
    held = found.find(_uuid(id), operator)
    original = found.original(held)
    record(settings, "quarantine-show", [], by=as_, reason=reason, asked=f"{held.id}{' --raw' if raw else ''}")
    if raw:
        sys.stdout.buffer.write(original.raw)
        return
    today = [{name: getattr(p, name) for name in PROBLEM} for p in ways(settings)(held.door).problems(held, original)]
    then = [{name: getattr(p, name) for name in PROBLEM} for p in original.problems]
    row = _row(held, format)
    if format is not Format.TABLE:
        emit([{**row, "today": today, "then": then}], (*SETTLED, "today", "then"), format)
        return
    emit([{"what": name, "value": row[name]} for name in SETTLED if row[name]], ("what", "value"), format)
    emit(then, PROBLEM, format, title="Why it was refused")
    emit(today, PROBLEM, format, title="What the gate finds today" + ("" if today else ": nothing"))


@quarantine.command(epilog="Example: epicrisis quarantine resubmit --operator charite --all")
def resubmit(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of messages that wait.", metavar="[ID]...")] = None,
    operator: Operator = None,
    all_: Annotated[bool, typer.Option("--all", help="All that wait, of --operator if it is given.")] = False,
    by: By = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Send messages again by their door's own way, in the order in which they came first. Exit code 1 if any waits on.

    The events are like all others; the inbox remembers that their message came from quarantine.
    """
    from epicrisis import logging
    from epicrisis.assembly import quarantine as kept
    from epicrisis.doors.again import resubmitted, ways
    from epicrisis.settings import Settings

    logging.configure("quarantine")
    if all_ == bool(ids):
        raise typer.BadParameter("name messages, or say --all")
    settings = Settings.read()
    some = _held(settings, ids or [], operator) if ids else _sight(settings, operator).rows(operator)
    rows = list(resubmitted(ways(settings), kept(settings), some, by or _user()))
    emit(rows, ("id", "operator", "door", "outcome", "message", "problems"), format)
    if any(row["message"] is None for row in rows):
        raise typer.Exit(1)


@quarantine.command(epilog="Example: epicrisis quarantine discard 4f0c… --reason 'a test message'")
def discard(
    ids: Ids,
    reason: Annotated[
        str, typer.Option(help="Why nobody will send it again. No name, no number: it is kept in clear.")
    ],
    operator: Operator = None,
    by: By = None,
) -> None:
    """Settle messages that nobody will send again. Their rows stay, and the sealed originals, for whoever asks why."""
    from epicrisis import logging
    from epicrisis.assembly import quarantine as kept
    from epicrisis.settings import Settings

    logging.configure("quarantine")
    settings = Settings.read()
    found = kept(settings)
    for held in _held(settings, ids, operator):
        found.discard(held, reason, by or _user())
        typer.echo(f"discarded: {held.id}")


def _sight(settings: Settings, operator: str | None) -> Any:
    from epicrisis.assembly import quarantine as kept

    return kept(settings, "auditor" if operator is None else "intake")


def _held(settings: Settings, ids: Sequence[str], operator: str | None) -> list[Held]:
    found = _sight(settings, operator)
    return [found.find(_uuid(id), operator) for id in ids]


def _row(held: Held, format: Format) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(held, name) for name in SETTLED}
    if format is Format.TABLE:
        named = [f"{code} {place}".strip() for code, place in held.problems]
        more = len(named) - SHOWN
        row["problems"] = ", ".join(named[:SHOWN]) + (f", and {more} more" if more > 0 else "")
    else:
        row["problems"] = [{"code": code, "expression": place} for code, place in held.problems]
    return row


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter("an id is a UUID, as `epicrisis quarantine list` shows it") from None
