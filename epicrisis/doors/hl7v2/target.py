"""Which element of a FHIR type a mapping row fills: checked against R4's own metadata when the table is read.

birthDate               an element; one that may repeat gets another item for each value
code.coding[a].system   [a] names an item: every row of the table that says [a] fills the same one
participant[a*].type    every item that other rows have made under this name
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct

from epicrisis.fhir.spec import PRIMITIVES, types

_STEP = re.compile(r"([A-Za-z]\w*)(?:\[(\w+)(\*?)\])?\Z").match


class Step(Struct, frozen=True):
    """One step on the way; ``each``: to every item of this name that is there already."""

    name: str
    many: bool
    label: str = ""
    each: bool = False


class Target(Struct, frozen=True, dict=True):
    """The way to an element, its FHIR type, and the codes that a required binding allows."""

    text: str
    steps: tuple[Step, ...]
    type: str
    codes: tuple[str, ...] = ()

    @cached_property
    def way(self) -> tuple[Step, ...]:
        """The steps to the object that has it."""
        return self.steps[:-1]

    @cached_property
    def last(self) -> Step:
        """The step from that object."""
        return self.steps[-1]

    @property
    def primitive(self) -> bool:
        """Whether it holds a value, not an object."""
        return self.type in PRIMITIVES


def target(kind: str, words: str) -> Target:
    """The element of a type that these words name; ValueError with a sentence where it has none."""
    steps: list[Step] = []
    codes: tuple[str, ...] = ()
    for word in words.split("."):
        found = _STEP(word)
        if found is None:
            raise ValueError("an element is written as in FHIR's JSON, with dots and [names of items]")
        known = types().get(kind)
        element = known.element(found[1]) if known else None
        if element is None:
            raise ValueError(f"{kind} has no element {found[1]}")
        if found[2] and not element.many:
            raise ValueError(f"{found[1]} does not repeat: leave out [{found[2]}]")
        steps.append(Step(found[1], element.many, found[2] or "", bool(found[3])))
        kind, codes = element.type, element.codes
    return Target(words, tuple(steps), kind, codes)


class Making:
    """An object that is being made, with the items that have names so far."""

    __slots__ = ("_items", "made")

    def __init__(self, made: dict[str, Any]) -> None:
        self.made = made
        self._items: dict[tuple[int, str, str, int], dict[str, Any]] = {}

    def set(self, where: Target, value: Any, repetition: int) -> bool:
        """Put a value there. False where one is there already: the first row that has a value wins."""
        placed = False
        last = where.last
        for holder in self._holders(where.way, repetition) if where.way else (self.made,):
            if last.many:
                holder.setdefault(last.name, []).append(value)
                placed = True
            elif last.name not in holder:
                holder[last.name] = value
                placed = True
        return placed

    def _holders(self, way: Sequence[Step], repetition: int) -> Iterable[dict[str, Any]]:
        holders = [self.made]
        for step in way:
            if step.each:
                holders = [
                    item
                    for holder in holders
                    for key, item in self._items.items()
                    if key[:3] == (id(holder), step.name, step.label)
                ]
            else:
                holders = [self._item(holder, step, repetition) for holder in holders]
        return holders

    def _item(self, holder: dict[str, Any], step: Step, repetition: int) -> dict[str, Any]:
        item: dict[str, Any]
        if not step.many:
            item = holder.setdefault(step.name, {})
            return item
        key = (id(holder), step.name, step.label, repetition)
        if step.label and key in self._items:
            return self._items[key]
        item = {}
        holder.setdefault(step.name, []).append(item)
        if step.label:
            self._items[key] = item
        return item
