"""The gate for messages that may be indented: indentation costs as much as all that it indents."""

from __future__ import annotations

import re

from epicrisis.codec.layout import layout_at, unindent
from epicrisis.fhir.gate import Checked, Gate

_indented_bundle = re.compile(rb'\{\n +"resourceType": "Bundle"').match
_LEVEL = 3  # of a resource in a Bundle: {"entry": [{"resource": {


def check(gate: Gate, raw: bytes) -> Checked:
    """Check a message. The resources of an indented Bundle are checked, and handed on, without their indentation;
    `Checked.layout` says how it comes back. Where that is not proven, they stay as they were sent.
    """
    if _indented_bundle(raw) and len(raw) <= gate.limits.bundle:
        compact, unit = unindent(raw.rstrip(b" \t\r\n"))
        if unit:
            checked = gate.check(compact)
            checked.layout, checked.unit = layout_at(unit, _LEVEL), unit
            return checked
    return gate.check(raw)
