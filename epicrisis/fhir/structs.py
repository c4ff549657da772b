"""msgspec Structs compiled from the metadata, made on first use: strict, and about as cheap as parsing.

Two families. The plain one knows no `_field` siblings and no nulls; nearly all traffic needs no more. The full one
has both, as `ext_<name>`. Attribute names are FHIR's own; a Python keyword gets a `_` behind it.
"""

import operator
import sys
import threading
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Annotated, Any, ForwardRef, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from . import invariants, lexical
from .spec import PRIMITIVES, SIBLING, Element, Type, attribute, has_sibling, types

# Annotations made at run time have no static type: Any throughout this file.
_STRING = Annotated[str, Meta(min_length=1, max_length=lexical.MAX_STRING)]


def _lexical(name: str) -> Any:
    if name in lexical.MEMOISED or name in lexical.NARROWED.values():
        return lexical.memoised(f"lexical:{name}", lexical.matches(name))
    return Annotated[str, Meta(pattern=lexical.PATTERNS[name], min_length=1)]


@cache
def _primitive(name: str) -> Any:
    if name in lexical.INTEGERS:
        low, high = lexical.INTEGERS[name]
        return Annotated[int, Meta(ge=low, le=high)]
    match name:
        case "boolean":
            return bool
        case "decimal":
            return float  # the range is checked; the raw bytes stay the record
        case "string" | "markdown" | "xhtml":
            return _STRING
        case _:
            return _lexical(name)


class Family:
    """One set of Structs, plain or full, with a decoder per resource type."""

    def __init__(self, full: bool) -> None:
        self.full = full
        self._module = ModuleType(f"{__name__}._{'full' if full else 'plain'}")
        sys.modules[self._module.__name__] = self._module  # msgspec resolves forward references in the module
        self._made: set[str] = set()
        self._references: dict[tuple[str, ...], str] = {}
        self._decoders: dict[str, Callable[[bytes], Struct]] = {}
        self._lock = threading.RLock()

    def decoder(self, resource_type: str) -> Callable[[bytes], Struct]:
        """What parses and checks one resource type from bytes."""
        if (found := self._decoders.get(resource_type)) is None:
            with self._lock:
                self._define(resource_type, types()[resource_type])
                made = getattr(self._module, resource_type)
                hook: Callable[[type, Any], Any] = operator.getitem  # type: ignore[assignment]  # see lexical.memoised
                found = msgspec.json.Decoder(made, dec_hook=hook).decode
                self._decoders[resource_type] = found
        return found

    def _define(self, name: str, kind: Type, instead: dict[str, Any] | None = None) -> None:
        """Make the Struct `name`, and those it needs."""
        if name in self._made:
            return
        self._made.add(name)  # before its elements: a type may hold itself
        fields: list[tuple[str, Any, Any]] = []
        shape = invariants.Shape(name, self.full)
        for element in kind.elements:
            python = attribute(element.name)
            sibling = self.full and has_sibling(name, element)
            annotation = (instead or {}).get(element.name) or self._annotation(name, element)
            shape.add(element, python, len(fields), sibling)
            if element.required and not sibling and not element.choice:
                fields.append((python, annotation, msgspec.field(name=element.name)))
            else:
                fields.append(self._optional(python, annotation, element.name))
            if sibling:
                fields.append(self._optional("ext_" + python, self._sibling(element), "_" + element.name))
        check = shape.check()
        tag: dict[str, Any] = {"tag_field": "resourceType", "tag": name} if kind.resource else {}
        struct = msgspec.defstruct(
            name,
            fields,
            module=self._module.__name__,
            namespace={"__post_init__": check} if check else {},
            kw_only=True,
            gc=False,
            eq=False,
            forbid_unknown_fields=True,
            **tag,
        )
        setattr(self._module, name, struct)

    @staticmethod
    def _optional(python: str, annotation: Any, name: str) -> tuple[str, Any, Any]:
        return python, annotation | UnsetType, msgspec.field(default=UNSET, name=name)

    def _annotation(self, owner: str, element: Element) -> Any:
        made: Any
        if element.type in PRIMITIVES:
            narrowed = lexical.NARROWED.get(f"{owner}.{element.name}")
            made = _primitive(narrowed or element.type)
            if element.codes:
                made = Literal[element.codes]
        elif element.type == "Resource":
            made = Raw
        elif element.type == "Reference":
            made = ForwardRef(self._reference(element.targets), is_class=True)
        else:
            self._define(element.type, types()[element.type])
            made = ForwardRef(element.type, is_class=True)
        if element.many:
            if self.full and element.type in PRIMITIVES:
                made = made | None
            return Annotated[list[made], Meta(min_length=1)]
        return made

    def _reference(self, targets: tuple[str, ...]) -> str:
        """One Struct per set of target types, so that each has one check for syntax and type."""
        name = self._references.get(targets)
        if name is None:
            name = self._references[targets] = f"Reference_{len(self._references)}"
            rule = "reference:" + (" or ".join(targets) or "a resource")
            checked = lexical.memoised(rule, lexical.is_reference(targets))
            self._define(name, types()["Reference"], {"reference": checked})
        return name

    def _sibling(self, element: Element) -> Any:
        self._define("PrimitiveExtension", SIBLING)
        made: Any = ForwardRef("PrimitiveExtension", is_class=True)
        return Annotated[list[made | None], Meta(min_length=1)] if element.many else made


@cache
def plain() -> Family:
    """The family without `_field` siblings."""
    return Family(full=False)


@cache
def full() -> Family:
    """The family with `_field` siblings and nulls in arrays of primitives."""
    return Family(full=True)
