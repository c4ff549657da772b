"""Texts of a message as values in FHIR: by a row's conversion, or by the table of a data type."""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo
from typing import Any

from epicrisis.doors.hl7v2.convert import PLAIN, ZONED, authority, own, own_id, person, phone, uri
from epicrisis.doors.hl7v2.errors import DATA_TYPE, VALUE, Fault, Place
from epicrisis.doors.hl7v2.message import NULL, Message, nth
from epicrisis.doors.hl7v2.rules import Mappings, Row, Table
from epicrisis.doors.hl7v2.source import Term
from epicrisis.doors.hl7v2.target import Making
from epicrisis.fhir.values import CLINIC

_V2_TABLE = "http://terminology.hl7.org/CodeSystem/v2-"
_MEMO, _MEMOS, _MEMO_LENGTH = 4096, 8, 200
"""So many short texts do pure tables remember, of so many kinds of senders; above it, all are forgotten."""
_NEVER = object()
_OF_PLAIN = frozenset(("plain", "zoned", "code", "system", "clinic"))
"""The conversions of plain text; the others look at its parts."""


class _Wrong(ValueError):
    """A value that a table has no code for: another condition of table 0357 than a wrong data type."""


class Values:
    """Conversions for one message. What is wrong is added to ``faults``, at ``place``."""

    def __init__(self, message: Message, mappings: Mappings) -> None:
        self.faults: list[Fault] = []
        self.place = Place()
        self.separators = (message.separators.component, message.separators.subcomponent)
        self._below = (self.separators, self.separators[1:], ())
        self._message = message
        self._mappings = mappings
        self._zone = _zone(message.head(7)) or mappings.zone
        if len(mappings.memo) > _MEMOS:
            mappings.memo.clear()
        self._facility = message.head(4)
        scope = message.separators, message.codec, self._facility
        self._memo: dict[Any, Any] = mappings.memo.setdefault(scope, {})

    def converted(
        self, row: Row, text: str, level: int, component: int = 0, subcomponent: int = 0, argument: str = ""
    ) -> Any:
        """A value in FHIR, None where the text says nothing. ``level``: 0 a repetition, 1 a component, 2 its part."""
        try:
            return self._convert(row, text, level, component, argument)
        except ValueError as problem:
            at = self.place
            if not at.component:
                at = _at(at, component, subcomponent)
            code = VALUE if isinstance(problem, _Wrong) else DATA_TYPE
            self.wrong(Fault(code=code, place=at, text=str(problem), severity="W" if row.lenient else "E"))
            return None

    def wrong(self, fault: Fault) -> None:
        """Note what is wrong, once: several resources may read the same field."""
        if fault not in self.faults:
            self.faults.append(fault)

    def _convert(self, row: Row, text: str, level: int, component: int, argument: str) -> Any:
        if row.how in _OF_PLAIN:
            plain = self.plain(text, level)
            return self._of_plain(row, plain) if plain else None
        mappings = self._mappings
        match row.how:
            case "type":
                return self._typed(mappings.types[row.word], text, level, component, row.argument)
            case "authority":
                parts = [*self._pieces(text, level)[int(row.argument or 1) - 1 :], "", "", ""]
                return authority(parts[0], parts[1], parts[2], mappings.authorities) if parts[0] or parts[1] else None
            case "own":
                return own(self._facility, self._message.part(text, int(row.argument)) if row.argument else "")
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
            case _:
                raise AssertionError(row.how)

    def _of_plain(self, row: Row, plain: str) -> Any:
        match row.how:
            case "plain":
                value = PLAIN[row.word](plain)
                return None if value == "" else value
            case "code":
                return self._code(row, plain)
            case "zoned":
                return ZONED[row.word](plain, self._zone) or None
            case "system":
                return _system(plain, self._mappings.systems)
            case "clinic":
                clinic = self._mappings.clinics.get(plain.upper())
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
        if not table.pure or len(text) > _MEMO_LENGTH:
            return self._parts(table, text, level, component, argument)
        memo = self._memo
        key = (table.name, argument, text, level)
        known = memo.get(key, _NEVER)  # other threads may clear it at any time
        if known is not _NEVER:
            return _copied(known)
        before = len(self.faults)
        made = self._parts(table, text, level, component, argument)
        if len(self.faults) == before:
            if len(memo) >= _MEMO:
                memo.clear()
            memo[key] = _copied(made)
        return made

    def _parts(self, table: Table, text: str, level: int, component: int, argument: str) -> Any:
        parts = text.split(self.separators[level]) if level < 2 else [text]
        making = Making({})
        outside = self.place
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
                        piece, below = nth(piece, self.separators[1], source.subcomponent), 2
                if not piece or piece == NULL:
                    continue
                at = (number, source.subcomponent) if level == 0 else (component, number)
                if row.how == "type" and not outside.component:
                    self.place = _at(outside, *at)
                value = self.converted(row, piece, min(below, 2), at[0], at[1], argument)
                self.place = outside
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
        return [self.plain(part, level + 1) for part in text.split(self.separators[level])]

    def _part_is_true(self, term: Term, parts: list[str]) -> bool:
        number = term.source.component
        value = self.plain(parts[number - 1], 1) if 0 < number <= len(parts) else ""
        return (value in term.values if term.values else bool(value)) != term.negated

    def plain(self, text: str, level: int) -> str:
        """The first part of a text that may have several, without escapes."""
        for separator in self._below[level]:
            if separator in text:
                text = text.partition(separator)[0]
        return self._message.plain(text)


def _copied(value: Any) -> Any:
    """What rows may add to: of what is remembered, no message may see what another one added."""
    if isinstance(value, dict):
        return {name: part if part.__class__ is str else _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _at(place: Place, component: int, subcomponent: int) -> Place:
    return Place(place.segment, place.sequence, place.field, place.repetition, component, subcomponent)


def _system(name: str, known: Any) -> str:
    upper = name.upper()
    if found := known.get(upper):
        return str(found)
    digits = upper.removeprefix("HL7").lstrip("_-")
    if upper.startswith("HL7") and digits.isdecimal():
        return _V2_TABLE + digits.zfill(4)
    return uri(name) if ":" in name else own(name)


def _zone(moment: str) -> tzinfo | None:
    """The zone of MSH-7, which holds for the message."""
    if len(moment) > 5 and moment[-5] in "+-" and moment[-4:].isdecimal():
        minutes = int(moment[-4:-2]) * 60 + int(moment[-2:])
        if minutes <= 14 * 60:
            return timezone(timedelta(minutes=minutes if moment[-5] == "+" else -minutes))
    return None
