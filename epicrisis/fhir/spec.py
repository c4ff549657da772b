"""FHIR R4's types as data: what `metadata.py` extracted, read once."""

import keyword
from functools import cache
from importlib.resources import files

from msgspec import Struct, json


class Element(Struct, frozen=True, kw_only=True):
    """One element of a type."""

    name: str
    type: str
    many: bool = False
    required: bool = False
    codes: tuple[str, ...] = ()  # the required binding, where there is one
    targets: tuple[str, ...] = ()  # what a Reference may point at; empty = anything
    choice: str = ""  # "value" for value[x]
    choice_required: bool = False


class Type(Struct, frozen=True, kw_only=True):
    """A resource, a data type or a backbone element."""

    elements: tuple[Element, ...]
    resource: bool = False

    def element(self, name: str) -> Element | None:
        """The element called `name`, as it is written in JSON."""
        return next((e for e in self.elements if e.name == name), None)


_PRIMITIVES = (
    "base64Binary boolean canonical code date dateTime decimal id instant integer integer64 markdown oid positiveInt"
    " string time unsignedInt uri url uuid xhtml"
)
PRIMITIVES = frozenset(_PRIMITIVES.split())

# what a `_field` sibling holds (https://hl7.org/fhir/R4/json.html#primitive)
SIBLING = Type(
    elements=(Element(name="id", type="string"), Element(name="extension", type="Extension", many=True)),
)


@cache
def types() -> dict[str, Type]:
    """Every R4 type by name; 10 ms on the first call."""
    raw = files(__package__).joinpath("r4.json").read_bytes()
    return json.decode(raw, type=dict[str, Type])


@cache
def resource_types() -> tuple[str, ...]:
    """The names of all resource types, sorted."""
    return tuple(sorted(name for name, kind in types().items() if kind.resource))


def attribute(name: str) -> str:
    """The Python attribute of a FHIR element, in the Structs that the gate parses."""
    return name + "_" if keyword.iskeyword(name) else name


def has_sibling(owner: str, element: Element) -> bool:
    """Whether the element may have a `_field` beside it: every primitive that can carry extensions."""
    if element.type not in PRIMITIVES or element.type == "xhtml" or element.name == "id":
        return False
    return (owner, element.name) != ("Extension", "url")


class Outline(Struct, frozen=True, kw_only=True):
    """A type's elements by what an object of it is asked for."""

    elements: dict[str, Element]
    siblings: frozenset[str]  # the elements that may have one
    required: tuple[str, ...]
    choices: dict[str, tuple[frozenset[str], bool]]  # by group: the elements, and whether one has to be there


@cache
def outline(name: str) -> Outline:
    """The outline of a type; of a `_field` sibling, which has no name."""
    kind = types()[name] if name else SIBLING
    groups: dict[str, list[Element]] = {}
    for element in kind.elements:
        if element.choice:
            groups.setdefault(element.choice, []).append(element)
    return Outline(
        elements={element.name: element for element in kind.elements},
        siblings=frozenset(element.name for element in kind.elements if has_sibling(name, element)),
        required=tuple(e.name for e in kind.elements if e.required and not e.choice),
        choices={
            group: (frozenset(e.name for e in some), any(e.choice_required for e in some))
            for group, some in groups.items()
        },
    )


@cache
def recursive() -> dict[str, tuple[str, ...]]:
    """Types that can hold themselves (item in item), with the elements that lead on; Extension and Reference apart."""
    apart = ("Extension", "Reference", "Identifier")
    known = types()
    below = {
        name: [(e.name, e.type) for e in kind.elements if e.type in known and e.type not in apart]
        for name, kind in known.items()
    }

    def reaches_itself(name: str) -> bool:
        seen: set[str] = set()
        todo = [kind for _, kind in below[name]]
        while todo:
            kind = todo.pop()
            if kind not in seen:
                seen.add(kind)
                todo += [k for _, k in below[kind]]
        return name in seen

    loops = {name for name in known if name not in apart and reaches_itself(name)}
    return {name: tuple(e for e, kind in below[name] if kind in loops) for name in loops}
