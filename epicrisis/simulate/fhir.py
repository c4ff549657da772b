"""Small builders of FHIR JSON: plain dictionaries in the element order of the specification."""

from __future__ import annotations

from typing import Any

import orjson

Json = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
XHTML = "http://www.w3.org/1999/xhtml"


def coding(system: str, code: str, display: str = "") -> Json:
    """A Coding; the display is left out where it is empty."""
    return {"system": system, "code": code, "display": display} if display else {"system": system, "code": code}


def concept(system: str, code: str, display: str = "", text: str = "") -> Json:
    """A CodeableConcept of one Coding."""
    made: Json = {"coding": [coding(system, code, display)]}
    if text:
        made["text"] = text
    return made


def hl7(name: str, code: str, display: str = "") -> Json:
    """A CodeableConcept from a code system of terminology.hl7.org."""
    return concept(TERMINOLOGY + name, code, display)


def reference(to: str, display: str = "") -> Json:
    """A Reference by its literal form."""
    return {"reference": to, "display": display} if display else {"reference": to}


def decimal(text: str) -> Any:
    """A JSON number written exactly so: 1.10 stays 1.10."""
    return orjson.Fragment(text)


def quantity(value: str, unit: str, code: str = "") -> Json:
    """A Quantity in a UCUM unit; the value is the number as text."""
    return {"value": decimal(value), "unit": unit, "system": UCUM, "code": code or unit}


def narrative(html: str) -> Json:
    """A generated narrative around inner XHTML."""
    return {"status": "generated", "div": f'<div xmlns="{XHTML}">{html}</div>'}


def dumps(resource: Json) -> bytes:
    """Compact JSON, UTF-8."""
    return orjson.dumps(resource)
