"""`epicrisis replay | explain`: a patient's history as of any moment, and why a row is what it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epicrisis.cli.accesses import As, Reason, record
from epicrisis.cli.app import app
from epicrisis.cli.output import Format, FormatOption, counted, emit, moment

if TYPE_CHECKING:
    from epicrisis.replay import Fact, When

TIMELINE = ("n", "effective", "recorded", "clinic", "event", "what", "stream")
CHANGES = ("table", "key", "change", "column", "before", "after")
EXPLAINED = tuple("n recorded clinic event table key column before after last source seq id".split())


class Shown(StrEnum):
    """`Format`, and a Bundle."""

    TABLE = Format.TABLE.value
    JSON = Format.JSON.value
    NDJSON = Format.NDJSON.value
    CSV = Format.CSV.value
    FHIR = "fhir"


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
    seen_by: Annotated[
        str | None,
        typer.Option(metavar="OPERATOR", help="Only what it had sent itself, or been given, by --known-at."),
    ] = None,
    through: Annotated[str | None, typer.Option(help="Show this projection's rows instead of the timeline.")] = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(help="What was recorded between two moments; with --through, which rows it changed, and how."),
    ] = None,
    format: Annotated[
        Shown, typer.Option("--format", "-f", help="How to show it; fhir: a history Bundle with Provenance.")
    ] = Shown.TABLE,
    as_: As = None,
    reason: Reason = "",
) -> None:
    """Show a patient's history from the ledger, as of any moment.

    An event has two times: when it was true, and when it was recorded. --as-of and --known-at cut by the one and the
    other, so "what did we know on Monday about the week before" takes both. --seen-by has a third: when an operator
    first had it, because it sent it or because it was given it over HTTP.
    """
    if diff is not None and known_at is not None:
        raise typer.BadParameter("--diff names both moments: leave --known-at out")
    if format is Shown.FHIR and through is not None:
        raise typer.BadParameter("a Bundle shows the resources themselves: leave --through out")
    moments = sorted(diff, key=moment) if diff is not None else [known_at]
    when = _when(as_of, moments[-1])
    said = (f"{when}", f"seen by {seen_by}" if seen_by else "", f"through {through}" if through else "")
    before = _when(as_of, moments[0]) if diff is not None else None
    known = _history(patient, when, seen_by or "", through=through or "")
    earlier = [fact for fact in known if before and _had(fact, before)]
    _record("replay", patient, as_, reason, ", ".join(filter(None, said)))
    title = f"{patient}: from {before} to {when}" if before else f"{patient}: {when}"
    title += f", seen by {seen_by}" if seen_by else ""
    if format is Shown.FHIR:
        _bundle(patient, _without(known, earlier), when)
    elif through is None:
        _timeline(_without(known, earlier), format, title, seen=bool(seen_by))
    elif before is not None:
        _differences(earlier, known, through, format, title)
    else:
        _rows(known, through, format)


def _had(fact: Fact, when: When) -> bool:
    """Whether it was known, or seen, by then already."""
    first = fact.seen or fact.meta.recorded
    return when.known_at is None or first <= when.known_at


def _without(known: Sequence[Fact], earlier: Sequence[Fact]) -> list[Fact]:
    there = {fact.n for fact in earlier}
    return [fact for fact in known if fact.n not in there]


def _timeline(known: Sequence[Fact], format: str, title: str, *, seen: bool) -> None:
    from epicrisis.replay import timeline

    emit(timeline(known), (*TIMELINE, "seen") if seen else TIMELINE, format, title=title)


def _rows(known: Sequence[Fact], through: str, format: str) -> None:
    """A table for each of the projection's, for people; for programs one list, whose rows name their tables."""
    from epicrisis.found import projection
    from epicrisis.projection import SHAPED_BY
    from epicrisis.replay import folded

    found = projection(through)
    made = folded(found, known)
    all_rows: list[dict[str, Any]] = []
    all_columns = ["table"]
    for table in found.tables.values():
        rows: list[dict[str, Any]] = [{c: getattr(row, c) for c in table.columns} for row in made.rows[table.name]]
        columns = [*table.columns]
        if not table.sums:
            columns.append(SHAPED_BY)
            for row, line in zip(made.rows[table.name], rows, strict=True):
                line[SHAPED_BY] = made.shaped[table.name, table.key_of(row)]
        if format == Shown.TABLE:
            emit(rows, columns if rows else (), format, title=table.name)
        all_rows += [{"table": table.name, **row} for row in rows]
        all_columns += columns
    if format != Shown.TABLE:
        emit(all_rows, list(dict.fromkeys(all_columns)), format)


def _differences(earlier: Sequence[Fact], known: Sequence[Fact], through: str, format: str, title: str) -> None:
    from epicrisis import replay as history
    from epicrisis.found import projection

    found = projection(through)
    changes = history.differences(found, history.through(found, earlier), history.through(found, known))
    emit(changes, CHANGES, format, title=title)


def _bundle(patient: str, known: Sequence[Fact], when: When) -> None:
    """These events' versions, the newest first, and the Provenance of each, as a history Bundle on stdout.

    Versions are counted over all that was known: one that is not shown has its number all the same.
    """
    from epicrisis.doors.fhir_http.assembled import base_of
    from epicrisis.doors.fhir_http.bundles import bundle, shown, version
    from epicrisis.fhir.provenance import PROVENANCE, provenance
    from epicrisis.replay import When
    from epicrisis.settings import Settings
    from epicrisis.versions import CHART, origin_of, versions

    base = base_of(Settings.read(), "127.0.0.1", 8080)
    wanted = {fact.n for fact in known}
    listed = [v for v in versions(_history(patient, When(known_at=when.known_at), through=CHART)) if v.fact.n in wanted]
    entries, origins = [], []
    for one in sorted(listed, key=lambda v: v.fact.n, reverse=True):
        meta = one.fact.meta
        raw = None if one.gone else shown(one.fact.body.resource, one.id, one.number, meta.recorded)
        entries.append(version(base, one.resource_type, one.id, one.number, meta.recorded, raw))
        origin = origin_of(meta, one.fact.n)
        raw = provenance(origin, f"{one.resource_type}/{one.id}", one.number)
        origins.append(version(base, PROVENANCE, origin.id, 1, meta.recorded, raw))
    sys.stdout.write(bundle("history", [*entries, *origins], [], len(entries) + len(origins)).decode() + "\n")


@app.command(epilog="Example: epicrisis explain cluster_chart Patient/0192f… resource_id=0192e…")
def explain(
    projection: Annotated[str, typer.Argument(help="The read model, e.g. clinic_patients.")],
    patient: Patient,
    key: Annotated[list[str] | None, typer.Argument(help="More of the row's key, as column=value.")] = None,
    as_: As = None,
    reason: Reason = "",
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
    changes = list(explained(found, _history(patient, _when(None, None), through=projection), wanted))
    _record("explain", patient, as_, reason, projection)
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


def _record(command: str, patient: str, by: str | None, reason: str, asked: str) -> None:
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    record(Settings.read(), command, [subject_of(patient)], by=by, reason=reason, asked=asked)


def _history(patient: str, when: When, seen_by: str = "", *, through: str = "") -> list[Fact]:
    """A patient's history: all events but who has looked, or those that a projection hears."""
    from epicrisis.access.api import ACCESS
    from epicrisis.assembly import history_of
    from epicrisis.errors import Refused
    from epicrisis.found import projection
    from epicrisis.operators import read_operators
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    settings = Settings.read()
    subject = subject_of(patient)
    of = projection(through) if through else None
    known = history_of(settings, subject, when, seen_by=seen_by, of=of)
    if known is None:
        raise Refused("the ledger knows no such patient: `epicrisis read clinic_patients` lists them")
    strange = seen_by and not known and seen_by not in read_operators(settings.operators_folder)
    if strange and not history_of(settings, subject, seen_by=seen_by):
        raise Refused(f"there is no operator {seen_by}, and it has never had anything of this patient")
    return known if through else [fact for fact in known if fact.meta.source != ACCESS]


def _when(as_of: str | None, known_at: str | None) -> When:
    from epicrisis.replay import When

    true, known = (None if text is None else moment(text) for text in (as_of, known_at))
    return When(as_of=true, known_at=known)
