"""The exact look at a JSON text: duplicate keys, nulls, empty values, control characters, arrays and their siblings.

About ten times the cost of the gate's own check, so it runs only when that one cannot be sure.
"""

import json
import re
from typing import Any

from .rules import Fault

control = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]").search

# written as an escape, behind no backslash that is itself escaped; bare ones no decoder lets through
_maybe_control = re.compile(rb"\\u00[01]").search
_control_escape = re.compile(rb"(?<!\\)(?:\\\\)*\\u00(?:0[0-8bBcCeEfF]|1[0-9a-fA-F])").search


def check(raw: bytes) -> None:
    """Raise `Fault`, without a place, for the first rule that the text breaks."""
    if _maybe_control(raw) and _control_escape(raw):
        raise Fault("control")
    try:
        json.loads(raw, object_pairs_hook=_object)
    except RecursionError:
        raise Fault("too-deep") from None
    except ValueError:
        raise Fault("not-json") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Fault("duplicate")
    if not made:
        raise Fault("empty-object")
    for key, value in pairs:
        if value.__class__ is str:  # most are
            continue
        if value is None:
            raise Fault("null")
        if type(value) is list:
            if rule := array_rule(key, value, made):
                raise Fault(rule)
        elif key[:1] == "_" and type(made.get(key[1:])) is list:
            raise Fault("misaligned")
    return made


def array_rule(key: str, items: list[Any], owner: dict[str, Any]) -> str | None:
    """The rule that an array breaks, on its own or against its sibling in `owner`, or None.

    https://hl7.org/fhir/R4/json.html#primitive: nulls only hold places for what stands in the other array.
    """
    if not items:
        return "empty-array"
    is_sibling = key[:1] == "_"
    other = owner.get(key[1:] if is_sibling else "_" + key)
    if other is not None:
        if type(other) is not list or len(other) != len(items):
            return "misaligned"
        if any(a is None and b is None for a, b in zip(items, other, strict=True)):
            return "misaligned"
    elif None in items and (not is_sibling or all(item is None for item in items)):
        return "null"
    return None
