"""How each primitive type is written: patterns, and strings checked through a memo that stays in C.

https://hl7.org/fhir/R4/datatypes.html#primitive and https://hl7.org/fhir/R4/references.html#literal
"""

import operator
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from .spec import resource_types

MAX_STRING = 1_048_576
MAX_REFERENCE = 4_096
_MEMO_ENTRIES = 20_000
_MEMO_LENGTH = 256  # longer strings are checked every time

ID = r"[A-Za-z0-9\-.]{1,64}"
_OID = r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"
_YEAR = r"(?!0000)[0-9]{4}"
# 29 February: looks back at the year
_LEAP = r"(?:(?<=[0-9]{2}(?:0[48]|[2468][048]|[13579][26])-)|(?<=(?:[02468][048]|[13579][26])00-))"
_MONTH_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8])|{_LEAP}02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"

PATTERNS = {
    "uri": r"\A\S+\Z",
    "url": r"\A\S+\Z",
    "canonical": r"\A\S+\Z",
    "code": r"\A\S++(?:\s\S++)*+\Z",
    "id": rf"\A{ID}\Z",
    "oid": rf"\A{_OID}\Z",
    "uuid": r"\Aurn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z",
    "date": rf"\A{_YEAR}(?:-(?:{_MONTH_DAY}|0[1-9]|1[0-2]))?\Z",
    "dateTime": rf"\A{_YEAR}(?:-(?:{_MONTH_DAY}(?:T{_TIME}{_ZONE})?|0[1-9]|1[0-2]))?\Z",
    "instant": rf"\A{_YEAR}-{_MONTH_DAY}T{_TIME}{_ZONE}\Z",
    "time": rf"\A{_TIME}\Z",
    "base64Binary": r"\A(?:[A-Za-z0-9+/]++|\s++)*+(?:=\s*+){0,2}\Z",
    "absolute URI": (
        rf"\A(?:urn:uuid:[0-9a-fA-F\-]{{36}}|{_OID}|urn:(?!uuid:|oid:)\S+|(?!urn:)[A-Za-z][A-Za-z0-9+.\-]*:\S+)\Z"
    ),
}
# where the specification narrows a type: "owner.element" -> pattern
NARROWED = {"BundleEntry.fullUrl": "absolute URI", "ValueSetComposeInclude.system": "absolute URI"}
INTEGERS = {
    "integer": (-(2**31), 2**31 - 1),
    "unsignedInt": (0, 2**31 - 1),
    "positiveInt": (1, 2**31 - 1),
    "integer64": (-(2**63), 2**63 - 1),
}
# these few are short-lived or unbounded: remembering them gains nothing
MEMOISED = frozenset(("uri", "url", "canonical", "code", "date", "dateTime", "instant"))


@cache
def matches(name: str) -> Callable[[str], object]:
    """The check of one lexical form: truthy when a string has it. Compiled on first use."""
    return re.compile(PATTERNS[name]).search


@cache
def is_reference(targets: tuple[str, ...]) -> Callable[[str], object]:
    """The check of `Reference.reference` for a set of target types; no targets = any resource type.

    Conditional references (`Practitioner?identifier=…`) pass: whoever resolves references resolves or refuses them.
    """
    anything = _one_of(resource_types())
    wanted = _one_of(targets) if targets else anything
    version = rf"(?:/_history/{ID})?"
    literal = re.compile(
        rf"\A(?:urn:uuid:[0-9a-fA-F\-]{{36}}|(?:https?://[^\s?#]+/)?{wanted}/{ID}{version}(?:#\S+)?"
        rf"|#(?:{ID})?|{wanted}\?\S+|{_OID})\Z"
    ).search
    ends_like_a_literal = re.compile(rf"/{anything}/{ID}{version}\Z").search
    absolute = re.compile(r"\A(?!urn:(?:uuid|oid):)[a-z][a-z0-9+.\-]*:\S+\Z").search

    def check(text: str) -> bool:
        if len(text) > MAX_REFERENCE:
            return False
        # any other absolute URI passes, unless it names a known type: then the type rule has already said no
        return bool(literal(text)) or bool(absolute(text) and not ends_like_a_literal(text[-160:]))

    return check


def _one_of(names: tuple[str, ...]) -> str:
    """An alternation that is grouped by first letter: the regex engine tries few branches."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name[0], []).append(name[1:])
    return "(?:" + "|".join(f"{first}(?:{'|'.join(rest)})" for first, rest in groups.items()) + ")"


def memoised(rule: str, check: Callable[[str], object]) -> type[Any]:
    """A type for msgspec whose values are strings that pass `check`; a string seen before costs 180 ns, all in C.

    msgspec calls `dec_hook(type, string)`. The hook is `operator.getitem`, so that is `type[string]`, and the
    metaclass's `__getitem__` is the memo dict's own bound method: a hit runs no Python. What comes out is a plain
    `str`; `operator.truth` answers the isinstance check that msgspec makes afterwards. The memo is bounded.
    """

    class Memo(dict[str, str]):
        def __missing__(self, text: object) -> str:
            if type(text) is not str:
                raise ValueError("wrong-type")
            if not check(text):
                raise ValueError(rule)
            if len(text) <= _MEMO_LENGTH:
                if len(self) >= _MEMO_ENTRIES:
                    self.clear()
                self[text] = text
            return text

    meta = type("Lexical", (type,), {"__getitem__": Memo().__getitem__, "__instancecheck__": operator.truth})
    made = meta(rule, (), {})
    assert isinstance(made, type)
    return made
