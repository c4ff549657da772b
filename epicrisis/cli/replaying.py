"""`epicrisis replay | explain`: a patient's history as of any moment, and why a row is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit, moment

if TYPE_CHECKING:
    from epicrisis.replay import Fact, When

TIMELINE = ("n", "effective", "recorded", "clinic", "event", "what", "stream")
CHANGES = ("table", "key", "change", "column", "before", "after")
EXPLAINED = (
    "n",
    "recorded",
    "clinic",
    "event",
    "table",
    "key",
    "column",
    "before",
    "after",
    "last",
    "source",
    "seq",
    "id",
)

AsOf = Annotated[str | None, typer.Option(help="Only what was true by then (FHIR dateTime).")]
KnownAt = Annotated[str | None, typer.Option(help="Only what had been recorded by then (FHIR dateTime).")]
Patient = Annotated[str, typer.Argument(help="The patient's id in the cluster.")]


@app.command(
    epilog="Example: epicrisis replay Patient/0192f… --known-at 2026-03-01T00:00:00Z --through clinic_patients"
)
def replay(
    patient: Patient,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    through: Annotated[str | None, typer.Option(help="Show this projection's rows instead of the timeline.")] = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(help="What was recorded between two moments; with --through, which rows it changed, and how."),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show a patient's history from the ledger, as of any moment.

    An event has two times: when it was true, and when it was recorded. --as-of and --known-at cut by the one and the
    other, so "what did we know on Monday about the week before" takes both.
    """
    from epicrisis import replay as history
    from epicrisis.found import projection as find
    from epicrisis.projection import SHAPED_BY

    if diff is not None:
        if known_at is not None:
            raise typer.BadParameter("--diff names both moments: leave --known-at out")
        _differ(patient, as_of, diff, through, format)
        return
    when = _when(as_of, known_at)
    known = _history(patient, when)
    if through is None:
        emit(history.timeline(known), TIMELINE, format, title=f"{patient}: {when}")
        return
    found = find(through)
    made = history.folded(found, known)
    for table in found.tables.values():
        listed = [{c: getattr(row, c) for c in table.columns} for row in made.rows[table.name]]
        columns = table.columns
        if not table.sums:
            columns = (*columns, SHAPED_BY)
            for row, line in zip(made.rows[table.name], listed, strict=True):
                line[SHAPED_BY] = made.shaped[table.name, table.key_of(row)]
        emit(listed, columns if listed else (), format, title=table.name)


def _differ(patient: str, as_of: str | None, moments: tuple[str, str], through: str | None, format: Format) -> None:
    from epicrisis import replay as history
    from epicrisis.found import projection as find

    first, second = (_when(as_of, text) for text in sorted(moments, key=moment))
    known = _history(patient, second)
    before = [fact for fact in known if first.covers(fact.meta)]
    title = f"{patient}: from {first} to {second}"
    if through is None:
        news = [fact for fact in known if not first.covers(fact.meta)]
        emit(history.timeline(news), TIMELINE, format, title=title)
        return
    found = find(through)
    changes = history.differences(found, history.through(found, before), history.through(found, known))
    emit(changes, CHANGES, format, title=title)


@app.command(epilog="Example: epicrisis explain cluster_chart Patient/0192f… resource_id=0192e…")
def explain(
    projection: Annotated[str, typer.Argument(help="The read model, e.g. clinic_patients.")],
    patient: Patient,
    key: Annotated[list[str] | None, typer.Argument(help="More of the row's key, as column=value.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show which events, in order, made a patient's rows of a read model what they are.

    A row of the read model knows which event shaped it last: the changes of that one are marked.
    """
    from epicrisis.errors import Refused
    from epicrisis.found import projection as find
    from epicrisis.readmodel import conditions, shaped
    from epicrisis.replay import explained, subject_of
    from epicrisis.settings import Settings

    found, wanted = find(projection), conditions(key or [])
    known = {column for table in found.tables.values() for column in table.key}
    if unknown := sorted(set(wanted) - known):
        raise Refused(f"{', '.join(unknown)} is in no key of {projection}; there are: {', '.join(sorted(known))}")
    changes = list(explained(found, _history(patient, _when(None, None)), wanted))
    stored = shaped(Settings.read(), found, subject_of(patient))
    rows: list[dict[str, Any]] = [
        {
            **change,
            "n": fact.n,
            "recorded": fact.meta.recorded,
            "clinic": fact.meta.clinic,
            "event": fact.meta.type,
            "source": fact.meta.source,
            "seq": fact.meta.seq,
            "id": fact.meta.id,
            "last": stored.get((change["table"], tuple(change["key"].values()))) == fact.n,
        }
        for fact, change in changes
    ]
    emit(rows, EXPLAINED, format, title=f"{projection}: {counted(len(rows), 'change')}")


def _history(patient: str, when: When) -> list[Fact]:
    from epicrisis.assembly import history_of
    from epicrisis.errors import Refused
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    try:
        subject = subject_of(patient)
    except ValueError:
        raise Refused("name the patient by its cluster id, a UUID") from None
    known = history_of(Settings.read(), subject, when)
    if known is None:
        raise Refused("the ledger knows no such patient: `epicrisis read clinic_patients` lists them")
    return known


def _when(as_of: str | None, known_at: str | None) -> When:
    from epicrisis.replay import When

    true, known = (None if text is None else moment(text) for text in (as_of, known_at))
    return When(as_of=true, known_at=known)
