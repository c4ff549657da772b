"""All that is wrong with a resource, for the person who mends its mapping: the slow second pass after a refusal.

It walks the JSON along the metadata, by the same rules as the gate, and goes on after each problem. Around a hundred
times the gate's cost; so it has an end: in problems, in objects looked at, and of a large Bundle it walks the resources
that the gate refuses. No text holds a value that was sent, and no name of a property that FHIR does not know.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from ..errors import Malformed, TooLarge
from . import exact, lexical, narrative
from .gate import Gate
from .invariants import MAX_DEPTH, attachment_size_matches
from .limits import Limits
from .outcome import Problem
from .rules import RULES, sentence, unknown_property
from .spec import PRIMITIVES, SIBLING, Element, Outline, Type, outline, types

MAX_PROBLEMS = 100
MAX_OBJECTS = 20_000
LARGE = 1024 * 1024
_SAME = len("there is a")
_MAX_NESTING = 150  # of JSON values: more than any FHIR resource needs


class Members(dict[str, Any]):
    """A JSON object that remembers whether a name was given twice."""

    twice = False


_JSON_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", Members: "object"}


def problems(raw: bytes, limits: Limits | None = None) -> list[Problem]:
    """Every problem of a resource or Bundle, in the order of the text (of a large Bundle, the frame comes last);
    empty if it may pass.

    Where there are more than `MAX_PROBLEMS`, or more than `MAX_OBJECTS` to look at, the last one says so.
    """
    gate = Gate(limits)
    try:
        gate.check(raw)
    except TooLarge as refusal:
        if not refusal.where.startswith("Bundle.entry"):
            return [_first(refusal)]
        first = _first(refusal)
    except Malformed as refusal:
        first = _first(refusal)
    else:
        return []
    found: list[Problem] = []
    try:
        for problem in _large(raw, gate) if len(raw) > LARGE else _walked(raw):
            found.append(problem)
            if len(found) == MAX_PROBLEMS:
                raise _Enough
    except (ValueError, RecursionError):
        pass
    except _Enough:
        found.append(_MORE)
    # what only the gate sees: sizes, rules between entries
    return found if any(_is_same(first, one) for one in found) else [first, *found]


class _Enough(Exception):
    """There is more, and nobody will read it."""


_MORE = Problem(
    severity="information",
    code="informational",
    expression="",
    text="there may be more: mend these, then send it again",
)


def _first(refusal: Malformed) -> Problem:
    return Problem(severity="error", code=code_of(refusal), expression=refusal.where, text=refusal.message)


def _is_same(first: Problem, other: Problem) -> bool:
    """Whether the gate's problem is this one: it may name the place around it (or, of too deep nesting, one further
    in), and say the end of it in other words.
    """
    near = other.expression.startswith(first.expression) or first.expression.startswith(other.expression)
    return first.code == other.code and first.text[:_SAME] == other.text[:_SAME] and near


def _walked(raw: bytes) -> Iterator[Problem]:
    yield from _Walk().resource(json.loads(raw, object_pairs_hook=_members), "", 0)


_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_entries_of = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_STAND_IN = msgspec.Raw(b'{"resourceType":"Basic","code":{"text":"-"}}')


def _large(raw: bytes, gate: Gate) -> Iterator[Problem]:
    """Of a Bundle: its frame, and each resource that the gate refuses. Anything else large has its first problem."""
    members = _members_of(raw)
    if b"Bundle" not in bytes(members.get("resourceType", b"")) or "entry" not in members:
        return
    entries = _entries_of(members["entry"])
    walk = _Walk()
    for index, entry in enumerate(entries):
        if "resource" in entry:
            part, entry["resource"] = bytes(entry["resource"]), _STAND_IN
            place = f"Bundle.entry[{index}].resource"
            try:
                gate.check(part)
            except TooLarge as refusal:
                yield replace(_first(refusal), expression=place)
            except Malformed:
                yield from walk.resource(json.loads(part, object_pairs_hook=_members), place, 0)
    members["entry"] = msgspec.Raw(msgspec.json.encode(entries))
    frame = msgspec.json.encode(members)
    if len(frame) <= LARGE:
        yield from walk.resource(json.loads(frame, object_pairs_hook=_members), "", 0)


def _members(pairs: list[tuple[str, Any]]) -> Members:
    made = Members(pairs)
    made.twice = len(made) != len(pairs)
    return made


def code_of(refusal: Malformed) -> str:
    """The FHIR issue type of what the gate refused."""
    return RULES[refusal.rule or "other"][0]


def _problem(rule: str, place: str, argument: str = "", text: str = "") -> Problem:
    return Problem(severity="error", code=RULES[rule][0], expression=place, text=text or sentence(rule, argument))


class _Walk:
    """Goes through a JSON document; each method yields what is wrong below its place."""

    def __init__(self) -> None:
        self._objects = 0

    def resource(self, value: Any, place: str, level: int, contained: bool = False) -> Iterator[Problem]:
        """A resource; the outermost one names the place itself."""
        if not isinstance(value, Members):
            yield _problem("not-object", place)
            return
        name = value.get("resourceType")
        kind = types().get(name) if isinstance(name, str) else None
        if kind is None or not kind.resource:
            yield _problem("no-type" if name is None else "unknown-type", place)
            return
        assert isinstance(name, str)
        place = place or name
        yield from self.object(value, name, kind, place, level, {})
        yield from self._inner_resources(value, place, contained)

    def object(
        self, value: Members, name: str, kind: Type, place: str, level: int, inside: dict[str, int]
    ) -> Iterator[Problem]:
        """An object of a known type. `inside` counts the types around it, to see what nests too deep."""
        self._objects += 1
        if self._objects > MAX_OBJECTS:
            raise _Enough
        inside = inside | {name: inside.get(name, 0) + 1}
        if inside[name] > MAX_DEPTH or level > _MAX_NESTING:
            yield _problem("too-deep", place)
            return
        if not value:
            yield _problem("empty-object", place)
        if value.twice:
            yield _problem("duplicate", place)
        known, given = outline(name), set[str]()
        for key, item in value.items():
            base = key.removeprefix("_")
            element = known.elements.get(base)
            if key == "resourceType" and kind.resource:
                continue
            if element is None or (key != base and base not in known.siblings):
                yield _problem("unknown", place, text=unknown_property(name, key))
                continue
            given.add(base)
            if key != base:
                yield from self._many(item, key, value, Element(name=key, type="", many=element.many), place, level, {})
            else:
                yield from self._many(item, key, value, element, place, level, inside, owner=name)
        yield from _cardinality(given, name, known, place)
        yield from self._special(value, name, place)

    def _many(
        self,
        item: Any,
        key: str,
        holder: Members,
        element: Element,
        place: str,
        level: int,
        inside: dict[str, int],
        owner: str = "",
    ) -> Iterator[Problem]:
        """The value of one member: single, or an array."""
        here = f"{place}.{key.removeprefix('_')}"
        if not element.many:
            yield from self._value(item, element, here, level, inside, owner)
            return
        if not isinstance(item, list):
            yield _problem("null" if item is None else "wrong-type", here, ": expected an array")
            return
        if rule := exact.array_rule(key, item, holder):
            yield _problem(rule, here)
        for index, one in enumerate(item):
            if one is not None or (element.type and element.type not in PRIMITIVES):
                yield from self._value(one, element, f"{here}[{index}]", level, inside, owner)

    def _value(
        self, item: Any, element: Element, place: str, level: int, inside: dict[str, int], owner: str
    ) -> Iterator[Problem]:
        if item is None:
            yield _problem("null", place)
        elif element.type in PRIMITIVES:
            yield from _primitive(item, element, owner, place)
        elif not isinstance(item, Members):
            yield _problem("wrong-type", place, f": expected an object, got {_JSON_TYPES[type(item)]}")
        elif element.type == "Resource":
            yield from self.resource(item, place, level + 2, contained=element.name == "contained")
        elif not element.type:
            yield from self.object(item, "", SIBLING, place, level + 2, inside)
        else:
            yield from self.object(item, element.type, types()[element.type], place, level + 2, inside)
            text = item.get("reference")
            if element.type != "Reference" or not isinstance(text, str) or not text:
                return
            if not lexical.is_reference(element.targets)(text):
                yield _problem("reference", place + ".reference", " or ".join(element.targets) or "a resource")

    def _special(self, value: Members, name: str, place: str) -> Iterator[Problem]:
        div, size, data = value.get("div"), value.get("size"), value.get("data")
        if name == "Narrative" and isinstance(div, str) and div and (rule := narrative.broken_rule(div)):
            yield _problem(rule, place)
        if name == "Attachment" and isinstance(size, int) and isinstance(data, str):
            yield from [] if attachment_size_matches(size, data) else [_problem("attachment-size", place)]
        if name == "" and not {"id", "extension"} & set(value):
            yield _problem("sibling-empty", place)
        if name == "Bundle" and isinstance(entries := value.get("entry"), list):
            yield from _entries(value.get("type"), entries, place)

    def _inner_resources(self, value: Members, place: str, contained: bool) -> Iterator[Problem]:
        inner = value.get("contained")
        ids: set[str] = set()
        if isinstance(inner, list):
            if contained:
                yield _problem("contained-nested", place + ".contained")
            for index, resource in enumerate(inner):
                name = resource.get("id") if isinstance(resource, dict) else None
                if not isinstance(name, str):
                    yield _problem("contained-id", f"{place}.contained[{index}]")
                elif name in ids:
                    yield _problem("contained-twice", f"{place}.contained[{index}]")
                else:
                    ids.add(name)
        holds_contained = not contained and value.get("resourceType") not in ("Bundle", "Parameters")
        if holds_contained and any(name not in ids for name in _local_references(value)):
            yield _problem("contained-missing", place)


def _cardinality(given: set[str], name: str, known: Outline, place: str) -> Iterator[Problem]:
    """What is missing or too much. A value and its sibling count once."""
    for element in known.required:
        if element not in given:
            yield _problem("missing", place, element)
    for group, (members, required) in known.choices.items():
        number = len(members & given)
        if name == "Extension":
            if number and "extension" in given:
                yield _problem("extension-both", place)
            elif number != 1 and "extension" not in given:
                yield _problem("extension-value", place)
        elif number > 1 or (required and not number):
            yield _problem("choice-required" if required else "choice", place, group)


def _local_references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        text = value.get("reference")
        if isinstance(text, str) and len(text) > 1 and text[0] == "#":
            yield text[1:]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _local_references(item)


def _entries(kind: Any, entries: list[Any], place: str) -> Iterator[Problem]:
    for index, entry in enumerate(entries):
        if isinstance(entry, dict):
            here = f"{place}.entry[{index}]"
            if kind in ("transaction", "batch") and "request" not in entry:
                yield _problem("entry-request", here)
            elif not {"resource", "request", "response"} & set(entry):
                yield _problem("entry-empty", here)


def _primitive(item: Any, element: Element, owner: str, place: str) -> Iterator[Problem]:
    expected: Any = {"boolean": bool, "decimal": (int, float)}.get(element.type, str)
    if element.type in lexical.INTEGERS:
        expected = int
    if not isinstance(item, expected) or (isinstance(item, bool) and element.type != "boolean"):
        yield _problem("wrong-type", place, f": a {element.type} is not written as {_JSON_TYPES[type(item)]}")
    elif element.type in lexical.INTEGERS:
        low, high = lexical.INTEGERS[element.type]
        if not low <= item <= high:
            yield _problem("range", place)
    elif isinstance(item, str):
        form = lexical.NARROWED.get(f"{owner}.{element.name}") or element.type
        if not item:
            yield _problem("empty-string", place)
        elif exact.control(item):
            yield _problem("control", place)
        elif len(item) > lexical.MAX_STRING:
            yield _problem("too-long", place)
        elif element.codes:
            if item not in element.codes:
                yield _problem("code", place)
        elif form in lexical.PATTERNS and not lexical.matches(form)(item):
            yield _problem("lexical", place, form)
