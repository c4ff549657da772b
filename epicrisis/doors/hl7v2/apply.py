"""Fill FHIR elements row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta, timezone, tzinfo
from typing import Any

from epicrisis.doors.hl7v2.compiled import Mappings, Part, Row, Table
from epicrisis.doors.hl7v2.convert import PLAIN, ZONED, authority, own, own_id, person, phone
from epicrisis.doors.hl7v2.errors import DATA_TYPE, REQUIRED, VALUE, Fault, Place
from epicrisis.doors.hl7v2.groups import Group
from epicrisis.doors.hl7v2.message import NULL, Message, Segment, nth
from epicrisis.doors.hl7v2.source import Source, Term
from epicrisis.doors.hl7v2.target import Making
from epicrisis.fhir.values import CLINIC

_V2_TABLE = "http://terminology.hl7.org/CodeSystem/v2-"
_MEMO = 4096
"""Texts that pure tables remember; above it, all are forgotten."""


class _Wrong(ValueError):
    """A value that a table has no code for: another condition of table 0357 than a wrong data type."""


class Applying:
    """The tables on one message. What is wrong is added to ``faults``, so that one answer tells all of it."""

    def __init__(self, message: Message, mappings: Mappings) -> None:
        self.faults: list[Fault] = []
        self.resources: Sequence[tuple[Group, str, str]] = ()
        """Group, type and fullUrl of every resource of the message, for references."""
        self._message = message
        self._mappings = mappings
        self._separators = (message.separators.component, message.separators.subcomponent)
        self._place = Place()
        self._known: dict[tuple[Segment, int, int, int], str] = {}
        self._entry = 0
        self._full_url = ""
        self._origins: dict[tuple[int, str], Place] = {}
        self._zone = _zone(message.head(7)) or mappings.zone

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
            for repetition, value in self._values(row, group, segment, made):
                found = True
                if making.set(row.target, value, repetition) and not nested:
                    self._origins.setdefault((self._entry, row.target.steps[0].name), self._place)
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
        self._wrong(Fault(code=REQUIRED, place=place, text="this is needed"))

    def _faulty(self, segment: Segment, source: Source) -> bool:
        """Whether something is known to be wrong with this field already."""
        return any(f.place.segment == segment.name and f.place.field == source.field for f in self.faults)

    def _values(self, row: Row, group: Group, segment: Segment, made: dict[str, Any]) -> Iterator[tuple[int, Any]]:
        """The values of a row, each with its repetition."""
        for source in row.sources:
            match source.kind:
                case "field":
                    found = False
                    whole = row.how == "lines"
                    for repetition, text in self._repetitions(source, group, segment, whole):
                        level = (source.component > 0) + (source.subcomponent > 0)
                        value = self._converted(row, text, level, source.component, source.subcomponent)
                        if value is not None:
                            found = True
                            yield repetition, value
                    if found:
                        return
                case "text":
                    self._place = Place(segment.name, segment.sequence)
                    yield 0, self._converted(row, source.text, 2)
                    return
                case "segments":
                    for number, one in enumerate(group.each(source.segment)):
                        part: dict[str, Any] = {}
                        self.segment(self._mappings.segments[row.word], Making(part), group, one, nested=True)
                        self._place = Place(one.name, one.sequence)
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
                text = nth(text, self._separators[0], source.component)
                if source.subcomponent:
                    text = nth(text, self._separators[1], source.subcomponent)
            if text and text != NULL:
                self._place = Place(found.name, found.sequence, source.field, repetition + 1)
                yield repetition, text

    def _references(self, source: Source, group: Group, segment: Segment, made: dict[str, Any]) -> Iterator[str]:
        """Resources of a type: all inside this group, or the nearest one, which is not the resource itself."""
        self._place = Place(segment.name, segment.sequence)
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
            value = self._known[key] = self._plain(next(texts, ""), level)
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

    # Values

    def _converted(
        self, row: Row, text: str, level: int, component: int = 0, subcomponent: int = 0, argument: str = ""
    ) -> Any:
        """A value in FHIR, None where the text says nothing. ``level``: 0 a repetition, 1 a component, 2 its part."""
        try:
            return self._convert(row, text, level, component, argument)
        except ValueError as problem:
            at = self._place
            if not at.component:
                at = _at(at, component, subcomponent)
            code = VALUE if isinstance(problem, _Wrong) else DATA_TYPE
            self._wrong(Fault(code=code, place=at, text=str(problem), severity="W" if row.lenient else "E"))
            return None

    def _wrong(self, fault: Fault) -> None:
        if fault not in self.faults:  # several resources may read the same field
            self.faults.append(fault)

    def _convert(self, row: Row, text: str, level: int, component: int, argument: str) -> Any:
        mappings = self._mappings
        match row.how:
            case "type":
                return self._typed(mappings.types[row.word], text, level, component, row.argument)
            case "authority":
                parts = [*self._pieces(text, level)[int(row.argument or 1) - 1 :], "", "", ""]
                return authority(parts[0], parts[1], parts[2], mappings.authorities) if parts[0] or parts[1] else None
            case "own":
                return own(self._message.head(4), self._message.part(text, int(row.argument)) if row.argument else "")
            case "text":
                return ", ".join(part for part in self._pieces(text, level) if part) or None
            case "id":
                parts = [part.upper() for part in self._pieces(text, level)]
                return f"{row.argument}/{own_id(parts)}" if any(parts) else None
            case "lines":
                parts = [self._message.plain(part) for part in text.split(self._message.separators.repetition)]
                return "\n".join(parts).strip("\n") or None
            case "person":
                return person(self._pieces(text, level)[int(row.argument or 1) - 1 :]) or None
            case "phone":
                return phone(self._pieces(text, level)) or None
            case "table":
                return _V2_TABLE + argument if argument else None
        plain = self._plain(text, level)
        if not plain:
            return None
        match row.how:
            case "plain":
                value = PLAIN[row.word](plain)
                return None if value == "" else value
            case "zoned":
                return ZONED[row.word](plain, self._zone) or None
            case "code":
                return self._code(row, plain)
            case "system":
                return _system(plain, mappings.systems)
            case "clinic":
                clinic = mappings.clinics.get(plain.upper())
                return {"system": CLINIC, "value": clinic} if clinic else None
            case _:
                raise AssertionError(row.how)

    def _code(self, row: Row, plain: str) -> Any:
        table = self._mappings.codes[row.argument]
        found = table.get(plain) or table.get("*")
        if found is None:
            raise _Wrong(f"codes/{row.argument}.csv has no such code")
        if not found.code:
            return None
        if row.target.primitive:
            return PLAIN[row.target.type](found.code)
        coding = {"system": found.system, "code": found.code, "display": found.display}
        coding = {name: value for name, value in coding.items() if value}
        return coding if row.target.type == "Coding" else {"coding": [coding]}

    def _typed(self, table: Table, text: str, level: int, component: int, argument: str) -> Any:
        """A text as a FHIR data type, None where it says nothing."""
        if not table.pure:
            return self._parts(table, text, level, component, argument)
        memo = self._mappings.memo
        key = (table.name, argument, text, level)
        if key in memo:
            made = memo[key]
            return made if made is None else dict(made)
        before = len(self.faults)
        made = self._parts(table, text, level, component, argument)
        if len(self.faults) == before:
            if len(memo) >= _MEMO:
                memo.clear()
            memo[key] = made if made is None else dict(made)
        return made

    def _parts(self, table: Table, text: str, level: int, component: int, argument: str) -> Any:
        parts = text.split(self._separators[level]) if level < 2 else [text]
        making = Making({})
        outside = self._place
        for row in table.rows:
            if row.when and not all(self._part_is_true(term, parts) for term in row.when):
                continue
            found = False
            for source in row.sources:
                number = source.component
                if source.kind == "argument":
                    piece, below = argument, 2
                elif source.kind == "text":
                    piece, below = source.text, 2
                elif number == 0:
                    piece, below = text, level
                else:
                    piece, below = (parts[number - 1] if number <= len(parts) else ""), level + 1
                    if source.subcomponent and level == 0:
                        piece, below = nth(piece, self._separators[1], source.subcomponent), 2
                if not piece or piece == NULL:
                    continue
                at = (number, source.subcomponent) if level == 0 else (component, number)
                self._place = outside if outside.component else _at(outside, *at)
                value = self._converted(row, piece, min(below, 2), at[0], at[1], argument)
                self._place = outside
                if value is not None:
                    making.set(row.target, value, 0)
                    found = True
                    break
            if row.required and not found:
                return None
        return making.made or None

    def _pieces(self, text: str, level: int) -> list[str]:
        """The components of a text (or the subcomponents), plain, each without what is below it."""
        if level > 1:
            return [self._message.plain(text)]
        return [self._plain(part, level + 1) for part in text.split(self._separators[level])]

    def _part_is_true(self, term: Term, parts: list[str]) -> bool:
        number = term.source.component
        value = self._plain(parts[number - 1], 1) if 0 < number <= len(parts) else ""
        return (value in term.values if term.values else bool(value)) != term.negated

    def _plain(self, text: str, level: int) -> str:
        """The first part of a text that may have several, without escapes."""
        for separator in self._separators[level:]:
            if separator in text:
                text = text.partition(separator)[0]
        return self._message.plain(text)


def _at(place: Place, component: int, subcomponent: int) -> Place:
    return Place(place.segment, place.sequence, place.field, place.repetition, component, subcomponent)


def _system(name: str, known: Any) -> str:
    upper = name.upper()
    if found := known.get(upper):
        return str(found)
    digits = upper.removeprefix("HL7").lstrip("_-")
    if upper.startswith("HL7") and digits.isdecimal():
        return _V2_TABLE + digits.zfill(4)
    return authority("", name, "", {}) if ":" not in name else name


def _zone(moment: str) -> tzinfo | None:
    """The zone of MSH-7, which holds for the message."""
    if len(moment) > 5 and moment[-5] in "+-" and moment[-4:].isdecimal():
        minutes = int(moment[-4:-2]) * 60 + int(moment[-2:])
        if minutes <= 14 * 60:
            return timezone(timedelta(minutes=minutes if moment[-5] == "+" else -minutes))
    return None
