"""From a message to a FHIR transaction Bundle, by the tables. Pure: the same message and tables give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

import msgspec

from epicrisis.doors.hl7v2.apply import Applying
from epicrisis.doors.hl7v2.convert import own_id
from epicrisis.doors.hl7v2.errors import EVENT, MESSAGE_TYPE, REQUIRED, Fault, NotMapped, Place
from epicrisis.doors.hl7v2.groups import Group, grouped
from epicrisis.doors.hl7v2.message import Message, Segment
from epicrisis.doors.hl7v2.rules import Mappings, Resource
from epicrisis.doors.hl7v2.target import Making

BySegment: TypeAlias = Mapping[str, tuple[Resource, ...]]

_encode = msgspec.json.Encoder().encode


class Mapped(NamedTuple):
    """The Bundle, what was left out with a warning, and from which field each element of each entry came."""

    bundle: bytes
    warnings: Sequence[Fault]
    origins: dict[tuple[int, str], Place]

    def origin(self, expression: str) -> Place:
        """The field that an element came from which the gate names: ``Bundle.entry[1].resource.birthDate``."""
        index, _, path = expression.removeprefix("Bundle.entry[").partition("]")
        if not index.isdigit():
            return Place("MSH")
        name = path.removeprefix(".resource").removeprefix(".").split(".")[0].split("[")[0]
        at = int(index)
        return self.origins.get((at, name)) or self.origins.get((at, "")) or Place("MSH")


class Planned(NamedTuple):
    """A resource on its way."""

    resource: Resource
    group: Group
    segment: Segment
    own_id: str
    reference: str
    """What others refer to it by: the entry's fullUrl, or where it is not written its type and id."""
    written: bool


def mapped(message: Message, mappings: Mappings) -> Mapped:
    """The transaction Bundle that a message is.

    Raises
    ------
    NotMapped
        The message is of a type that no table maps, or a value in it cannot be: with every place.
    """
    kind = _kind(message, mappings)
    root = grouped(message, mappings.groups)
    applying = Applying(message, mappings)
    if not message.head(10):
        text = "without a control id nobody can tell this message from the next"
        applying.faults.append(Fault(code=REQUIRED, place=Place("MSH", 1, 10), text=text))
    planned = list(_planned(root, mappings.resources[kind], applying))
    _assert_needed(mappings.resources[kind], planned, applying)
    applying.resources = [(one.group, one.resource.type, one.reference) for one in planned]
    entries: list[dict[str, Any]] = []
    origins: dict[tuple[int, str], Place] = {}
    for one in planned:
        if not one.written:
            continue
        kind_of, index = one.resource.type, len(entries)
        made: dict[str, Any] = {"resourceType": kind_of}
        if one.own_id:
            made["id"] = one.own_id
        origins[index, ""] = Place(one.segment.name, one.segment.sequence)
        applying.entry(index, one.reference, origins)
        applying.segment(one.resource.table, Making(made), one.group, one.segment)
        entries.append({"fullUrl": one.reference, "resource": made, "request": _request(one, made)})
    errors = [fault for fault in applying.faults if fault.severity == "E"]
    if errors:
        raise NotMapped(errors)
    bundle = _encode({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    return Mapped(bundle, applying.faults, origins)


def _kind(message: Message, mappings: Mappings) -> str:
    """What kind of message it is. MSH-9 gets the event where only EVN has it: tables ask MSH-9.2."""
    kind = mappings.kinds.get(message.type)
    code, _, event = message.type.partition("^")
    if kind is None:
        if not code or not event:
            component = 2 if code else 1
            fault = Fault(code=REQUIRED, place=Place("MSH", 1, 9, 1, component), text="it must say the message's type")
        elif any(known.startswith(f"{code}^") for known in mappings.kinds):
            fault = Fault(code=EVENT, place=Place("MSH", 1, 9, 1, 2), text="this event is not taken in here")
        else:
            fault = Fault(
                code=MESSAGE_TYPE, place=Place("MSH", 1, 9, 1, 1), text="messages of this type are not taken in"
            )
        raise NotMapped([fault])
    if not message.head(9, 2):
        message.header.fields[9] = f"{code}{message.separators.component}{event}"
    return kind


def _request(one: Planned, made: dict[str, Any]) -> dict[str, str]:
    kind = one.resource.type
    if one.own_id:
        return {"method": "PUT", "url": f"{kind}/{one.own_id}"}
    request = {"method": "POST", "url": kind}
    if one.resource.write == "new" and made.get("identifier"):
        first = made["identifier"][0]
        request["ifNoneExist"] = f"identifier={quote(first.get('system', ''))}|{quote(first['value'])}"
    return request


def _planned(root: Group, by_segment: BySegment, applying: Applying) -> Iterator[Planned]:
    """Every segment that becomes a resource, in the order of the message, with what it is referred to by.

    A segment that is there twice, word for word, is one resource; another one of the same name gets a number.
    """
    seen: dict[tuple[str, str], list[tuple[list[str], str]]] = {}
    for group in root.walk():
        for segment in group.segments:
            for resource in by_segment.get(segment.name, ()):
                if resource.when and not applying.holds(resource.when, group, segment):
                    continue
                if not resource.ids:
                    reference = _urn(own_id([segment.name, str(segment.sequence)]))
                    yield Planned(resource, group, segment, "", reference, True)
                    continue
                name = applying.name(resource.ids, group, segment)
                if not name and not any(row.required for row in resource.table.rows):
                    applying.missing(segment, resource.ids[0][0].sources[0])
                same = seen.setdefault((resource.type, name), [])
                content = segment.fields[2:]
                if before := next((url for fields, url in same if fields == content), None):
                    yield Planned(resource, group, segment, "", before, False)
                    continue
                key = own_id([resource.type, name, *([str(len(same) + 1)] if same else [])])
                written = resource.write != "never"
                reference = _urn(key) if written else f"{resource.type}/{key}"
                same.append((content, reference))
                yield Planned(resource, group, segment, key, reference, written)


def _assert_needed(by_segment: BySegment, planned: list[Planned], applying: Applying) -> None:
    there = {(one.segment.name, one.resource.type) for one in planned}
    for some in by_segment.values():
        for resource in some:
            if resource.required and (resource.segment, resource.type) not in there:
                place = Place(resource.segment)
                applying.faults.append(Fault(code=REQUIRED, place=place, text="the message needs this segment"))


def _urn(digest: str) -> str:
    return f"urn:uuid:{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
