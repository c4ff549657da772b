"""Write the gate's metadata, `r4.json`, from the R4B models of fhir.resources: `python -m epicrisis.fhir.metadata`.

Build time only. The run time reads the file and never imports fhir.resources, whose import takes 3.5 s.
`overrides.toml` corrects what the models get wrong.
"""

import importlib
import inspect
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .spec import PRIMITIVES

HERE = Path(__file__).parent
TARGET = HERE / "r4.json"

# bases without instances of their own
_ABSTRACT = {"Resource", "DomainResource", "Element", "BackboneElement", "FHIRPrimitiveExtension"}
_TYPE_NAME = re.compile(r"fhirtypes\.(\w+)Type\b")
# the models spell the names of primitive types as class names
_PRIMITIVES = {name[0].upper() + name[1:]: name for name in PRIMITIVES}


def _models() -> Iterator[Any]:  # pydantic classes; typed Any because this runs at build time only
    import fhir.resources.R4B as package
    from fhir_core.fhirabstractmodel import FHIRAbstractModel

    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for item in vars(module).values():
            if isinstance(item, type) and issubclass(item, FHIRAbstractModel) and item.__module__ == module.__name__:
                yield item


def _annotation(model: Any, attribute: str) -> tuple[str, str]:
    """The source text of an attribute's annotation, and the FHIR type that declares it."""
    for base in model.__mro__:
        if attribute in (own := inspect.get_annotations(base)):
            return own[attribute], base.__resource_type__
    raise LookupError(f"{model.__name__}.{attribute} is not annotated")


def _element(model: Any, name: str, names: dict[str, str], overrides: dict[str, Any]) -> dict[str, Any]:
    attribute, field = next((k, f) for k, f in model.model_fields.items() if (f.alias or k) == name)
    extra = field.json_schema_extra or {}
    annotation, owner = _annotation(model, attribute)
    found = _TYPE_NAME.search(annotation)
    spelled = found[1] if found else "Boolean"
    element: dict[str, Any] = {"name": name, "type": _PRIMITIVES.get(spelled) or names[spelled]}
    if "typing.List[" in annotation:
        element["many"] = True
    if field.is_required() or extra.get("element_required"):
        element["required"] = True
    codes = extra.get("enum_values")
    full_name = f"{owner}.{name}"
    if full_name in overrides["codes"]:
        codes = overrides["codes"][full_name].split()
    if codes and full_name not in overrides["open"]["elements"]:
        element["codes"] = list(codes)
    targets = extra.get("enum_reference_types") or []
    if element["type"] == "Reference" and targets and not {"Resource", "Any"} & set(targets):
        element["targets"] = sorted(targets)
    if group := extra.get("one_of_many"):
        element["choice"] = group
        if extra.get("one_of_many_required"):
            element["choice_required"] = True
    return element


def extract() -> dict[str, Any]:
    """All R4B types as plain data: `{type name: {"resource"?, "elements": [...]}}`, in a stable order."""
    overrides = tomllib.loads((HERE / "overrides.toml").read_text("utf-8"))
    models = list(_models())
    names = {model.__name__: model.__resource_type__ for model in models} | {"Resource": "Resource"}
    types: dict[str, Any] = {}
    for model in sorted(models, key=lambda m: str(m.__resource_type__)):
        if model.__resource_type__ in _ABSTRACT:
            continue
        elements = [_element(model, name, names, overrides) for name in model.elements_sequence()]
        types[model.__resource_type__] = {"elements": elements}
        if model.has_resource_base():
            types[model.__resource_type__]["resource"] = True
    return types


def render(types: dict[str, Any]) -> bytes:
    """The text of the data file: one type a line, so that a change shows as a change of one line."""
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(t, separators=(',', ':'))}" for name, t in types.items())
    return f"{{\n{lines}\n}}\n".encode()


if __name__ == "__main__":
    TARGET.write_bytes(render(extract()))
    print(f"wrote {TARGET.name}: {TARGET.stat().st_size:,} bytes")  # noqa: T201  (a build step talks to its user)
