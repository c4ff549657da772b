"""Fill FHIR elements row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from epicrisis.doors.hl7v2.errors import REQUIRED, Fault, Place
from epicrisis.doors.hl7v2.groups import Group
from epicrisis.doors.hl7v2.message import NULL, Message, Segment, nth
from epicrisis.doors.hl7v2.rules import Mappings, Part, Row, Table
from epicrisis.doors.hl7v2.source import Source, Term
from epicrisis.doors.hl7v2.target import Making
from epicrisis.doors.hl7v2.values import Values


class Applying:
    """The tables on one message. What is wrong is added to ``faults``, so that one answer tells all of it."""

    def __init__(self, message: Message, mappings: Mappings) -> None:
        self._values = Values(message, mappings)
        self.faults = self._values.faults
        self.resources: Sequence[tuple[Group, str, str]] = ()
        """Group, type and fullUrl of every resource of the message, for references."""
        self._message = message
        self._mappings = mappings
        self._known: dict[tuple[Segment, int, int, int], str] = {}
        self._entry = 0
        self._full_url = ""
        self._origins: dict[tuple[int, str], Place] = {}

    def entry(self, index: int, full_url: str, origins: dict[tuple[int, str], Place]) -> None:
        """What is made from now on is entry ``index``; where it comes from is kept in ``origins``."""
        self._entry, self._full_url, self._origins = index, full_url, origins

    # A segment

    def segment(self, table: Table, making: Making, group: Group, segment: Segment, nested: bool = False) -> None:
        """Fill a resource, or a part of one, from a segment and those around it."""
        made = making.made
        for row in table.rows:
            if not row.required and self._empty(row, group, segment):
                continue
            if row.when and not self.holds(row.when, group, segment):
                continue
            found = False
            for repetition, value in self._found(row, group, segment, made):
                found = True
                if making.set(row.target, value, repetition) and not nested:
                    self._origins.setdefault((self._entry, row.target.steps[0].name), self._values.place)
            if row.required and not found:
                if nested:
                    made.clear()
                    return
                if not self._faulty(segment, row.sources[0]):
                    self.missing(segment, row.sources[0])

    def _empty(self, row: Row, group: Group, segment: Segment) -> bool:
        """Whether none of a row's fields was sent, as is so with most."""
        for source in row.sources:
            if source.kind != "field":
                return False
            found = segment if segment.name == source.segment else group.find(source.segment)
            if found is not None and source.field < len(found.fields) and found.fields[source.field]:
                return False
        return True

    def missing(self, segment: Segment, source: Source) -> None:
        """Tell that a field is needed."""
        same = source.segment == segment.name
        place = Place(
            source.segment or segment.name, segment.sequence if same else 1, source.field, 0, source.component
        )
        self._values.wrong(Fault(code=REQUIRED, place=place, text="this is needed"))

    def _faulty(self, segment: Segment, source: Source) -> bool:
        """Whether something is known to be wrong with this field already."""
        return any(f.place.segment == segment.name and f.place.field == source.field for f in self.faults)

    def _found(self, row: Row, group: Group, segment: Segment, made: dict[str, Any]) -> Iterator[tuple[int, Any]]:
        """The values of a row, each with its repetition."""
        for source in row.sources:
            match source.kind:
                case "field":
                    found = False
                    whole = row.how == "lines"
                    for repetition, text in self._repetitions(source, group, segment, whole):
                        level = (source.component > 0) + (source.subcomponent > 0)
                        value = self._values.converted(row, text, level, source.component, source.subcomponent)
                        if value is not None:
                            found = True
                            yield repetition, value
                    if found:
                        return
                case "text":
                    self._values.place = Place(segment.name, segment.sequence)
                    yield 0, self._values.converted(row, source.text, 2)
                    return
                case "segments":
                    for number, one in enumerate(group.each(source.segment)):
                        part: dict[str, Any] = {}
                        self.segment(self._mappings.segments[row.word], Making(part), group, one, nested=True)
                        self._values.place = Place(one.name, one.sequence)
                        if part:
                            yield number, part
                case "resource":
                    for number, url in enumerate(self._references(source, group, segment, made)):
                        yield number, {"reference": url}
                case _:
                    raise AssertionError("parts are for data types")

    def _repetitions(
        self, source: Source, group: Group, segment: Segment, whole: bool = False
    ) -> Iterator[tuple[int, str]]:
        """The repetitions that have something, each cut down to what the source asks for."""
        found = segment if segment.name == source.segment else group.find(source.segment)
        raw = found.field(source.field) if found is not None else ""
        if not raw or raw == NULL or found is None:
            return
        separator = self._message.separators.repetition
        one_only = whole or (found.name == "MSH" and source.field <= 2)
        for repetition, text in enumerate((raw,) if one_only or separator not in raw else raw.split(separator)):
            if source.component:
                text = nth(text, self._values.separators[0], source.component)
                if source.subcomponent:
                    text = nth(text, self._values.separators[1], source.subcomponent)
            if text and text != NULL:
                self._values.place = Place(found.name, found.sequence, source.field, repetition + 1)
                yield repetition, text

    def _references(self, source: Source, group: Group, segment: Segment, made: dict[str, Any]) -> Iterator[str]:
        """Resources of a type: all inside this group, or the nearest one, which is not the resource itself."""
        self._values.place = Place(segment.name, segment.sequence)
        around: Group | None = group
        while around is not None:
            inside = set(map(id, around.walk()))
            found = [
                u for g, kind, u in self.resources if kind == source.text and id(g) in inside and u != self._full_url
            ]
            if source.many or found:
                yield from found if source.many else found[:1]
                return
            around = around.parent

    # Conditions and names

    def holds(self, when: tuple[Term, ...], group: Group, segment: Segment) -> bool:
        """Whether all terms of a condition are true here."""
        return all(self._is_true(term, group, segment) for term in when)

    def _is_true(self, term: Term, group: Group, segment: Segment) -> bool:
        source = term.source
        if source.kind == "resource":
            found = any(kind == source.text for _, kind, _ in self.resources)
        elif term.repeats:
            found = sum(1 for _ in self._repetitions(source, group, segment)) > 1
        else:
            every = (source, *term.others)
            value = next((text for one in every if (text := self.value(one, group, segment))), "")
            found = value in term.values if term.values else bool(value)
        return found != term.negated

    def value(self, source: Source, group: Group, segment: Segment) -> str:
        """The plain text of a field's first repetition (its first component, unless the source names one)."""
        found = segment if segment.name == source.segment else group.find(source.segment)
        if found is None:
            return ""
        key = (found, source.field, source.component, source.subcomponent)
        value = self._known.get(key)
        if value is None:
            level = (source.component > 0) + (source.subcomponent > 0)
            texts = (text for _, text in self._repetitions(source, group, segment))
            value = self._known[key] = self._values.plain(next(texts, ""), level)
        return value

    def name(self, ways: tuple[tuple[Part, ...], ...], group: Group, segment: Segment) -> str:
        """What a resource's id is made of: the first way whose parts are all there; empty where none is."""
        for way in ways:
            parts: list[str] = []
            for part in way:
                found = next((text for source in part.sources if (text := self._named(source, group, segment))), "")
                if not found and not part.optional:
                    break
                parts.append(found)
            else:
                return "\x1f".join(parts)
        return ""

    def _named(self, source: Source, group: Group, segment: Segment) -> str:
        if source.kind == "resource":  # the patient, by the first identifier
            patient = group.find("PID")
            first = patient.field(3).split(self._message.separators.repetition)[0] if patient else ""
            return "\x1e".join(self._message.part(first, n) for n in (1, 4) if first)
        return source.text if source.kind == "text" else self.value(source, group, segment)
