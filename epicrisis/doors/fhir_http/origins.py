"""Where versions come from: the Provenance of each, with histories and searches, by its id, and by its target.

What clients have sent as Provenance is a resource like any other, and is found beside these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from epicrisis.doors.fhir_http import bundles
from epicrisis.doors.fhir_http.answers import Answer, Told, told
from epicrisis.doors.fhir_http.app import Call
from epicrisis.doors.fhir_http.chart import Version
from epicrisis.doors.fhir_http.past import Past
from epicrisis.doors.fhir_http.query import IGNORED, RESULT, split
from epicrisis.doors.fhir_http.reading import Reader, Seen, all_of
from epicrisis.fhir.provenance import PROVENANCE, Origin, place_of, provenance

REVINCLUDE, OF_TARGETS = "_revinclude", "Provenance:target"
TARGET = "target"
_TARGET = re.compile(r"(?:\S+/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/([1-9][0-9]{0,8}))?\Z").match


def read(reader: Reader, call: Call) -> Answer | None:
    """The Provenance of this id; None where it is no id of one that is made here."""
    named = place_of(call.path["id"])
    if named is None:
        return None
    with reader.seen(call) as seen:
        past = Past(seen.view)
        place = past.place_of(*named)
        origin = past.origins([place])[place] if place else None
        if place is None or origin is None or not _may(call, origin):
            raise told(404, "not-found", "this clinic knows no such resource")
        versions = all_of(reader.find(seen, *origin.stream.split("/", 1)))
        one = next((one for one in versions if one.place == place), None)
    if one is None:
        raise told(404, "not-found", "this event has made no version of a resource")
    return Answer(body=provenance(origin, origin.stream, one.number), version=1, modified=origin.recorded)


def _may(call: Call, origin: Origin) -> bool:
    return call.caller.may(origin.stream.partition("/")[0], "r")


def of_targets(reader: Reader, seen: Seen, given: Sequence[tuple[str, str]]) -> list[bytes]:
    """A search's entries: the Provenance of each version of the resources that are searched for as targets.

    None where something else is searched for, too.
    """
    asked = [pair for pair in given if pair[0] not in (*RESULT, *IGNORED)]
    if [name for name, _ in asked] != [TARGET]:
        return []
    found: list[Version] = []
    for text in split(asked[0][1]):
        named = _TARGET(text)
        if named is None or not seen.call.caller.may(named[1], "r"):
            continue
        try:
            versions = all_of(reader.find(seen, named[1], named[2]))
        except Told as nothing:
            if nothing.answer.status != 404:
                raise
            continue
        found += [one for one in versions if not named[3] or one.number == int(named[3])]
    return entries(seen, found, mode="match")


def entries(seen: Seen, versions: Iterable[Version], *, mode: str = "") -> list[bytes]:
    """The Provenance of each of these, as entries of a search's answer (with ``mode``) or of a history.

    None where the caller may not read any.
    """
    call, some = seen.call, list(versions)
    if not call.caller.may(PROVENANCE, "r"):
        return []
    known = Past(seen.view).origins([one.place for one in some])
    made = []
    for one in some:
        if origin := known.get(one.place):
            raw = provenance(origin, f"{one.row.resource_type}/{one.row.id}", one.number)
            made.append(
                bundles.match(call.base, PROVENANCE, origin.id, raw, mode)
                if mode
                else bundles.version(call.base, PROVENANCE, origin.id, 1, origin.recorded, raw)
            )
    return made


def asks_for_them(given: dict[str, str]) -> bool:
    """Whether the Provenance of what is shown is wanted with it.

    Raises
    ------
    Told
        400: something else is wanted by that parameter.
    """
    wanted = given.get(REVINCLUDE, "")
    if wanted not in ("", OF_TARGETS):
        raise told(400, "not-supported", f"here {REVINCLUDE} is {OF_TARGETS} or nothing")
    return bool(wanted)
