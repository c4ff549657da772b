from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import schemas
from epicrisis.codec import Catalogue, Codec, Dictionaries, Sealed
from epicrisis.codec.catalogue import schema_id
from epicrisis.codec.release import release_all
from epicrisis.errors import CatalogueError, Poison, UnknownSchema
from tests.unit.codec.events import codec, data_key, meta_of

V1 = """
from epicrisis.event import event
@event(version=1)
class Staged:
    stage: str
    note: bytes
"""
V2 = """
from epicrisis.event import event, value
@value
class Tnm:
    t: str = ""
    n: str = ""
@event(version=2)
class Staged:
    stage: str
    note: bytes
    tnm: Tnm = Tnm()
"""
V3 = """
from epicrisis.event import event, value
@value
class Tnm:
    t: str = ""
    n: str = ""
@event(version=3)
class Staged:
    stage: str
    note: bytes
    tnm: Tnm = Tnm()
    sites: tuple[Tnm, ...] = ()
"""
UPCASTS = """
def v1_to_v2(body):
    t, _, n = body["stage"].partition("/")
    return {**body, "stage": body["stage"].lower(), "tnm": {"t": t, "n": n}}
def v2_to_v3(body):
    return {**body, "sites": [body["tnm"]]}
upcasts = {("Staged", 1): v1_to_v2, ("Staged", 2): v2_to_v3}
"""


class Package:
    """A small package of schemas in a folder of its own."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.folder = root / name / "oncology"
        self.folder.mkdir(parents=True)
        (root / name / "__init__.py").write_text("")
        shutil.copy(Path(schemas.__path__[0]) / "envelope.avsc", root / name)
        self.forget()

    def forget(self) -> None:
        for module in [m for m in sys.modules if m.split(".")[0] == self.name]:
            del sys.modules[module]
        for path in self.folder.parent.rglob("__pycache__"):
            shutil.rmtree(path)
        importlib.invalidate_caches()

    def write(self, classes: str, upcasts: str = "") -> Catalogue:
        (self.folder / "__init__.py").write_text(classes)
        if upcasts:
            (self.folder / "upcasts.py").write_text(upcasts)
        self.forget()
        return Catalogue.read(self.name)

    def released(self, classes: str, upcasts: str = "") -> Catalogue:
        list(release_all(self.write(classes, upcasts)))
        self.forget()
        return Catalogue.read(self.name)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Package(tmp_path, "published_for_a_test")
    yield made
    made.forget()


def class_of(catalogue: Catalogue) -> Any:
    return catalogue.kinds["oncology.Staged"].cls


def test_old_bodies_are_lifted_step_by_step_to_the_newest_class(package: Package) -> None:
    key, old_values = data_key(), []
    for source, made in ((V1, {}), (V2, {})):
        catalogue = package.released(source, UPCASTS if source != V1 else "")
        cls = class_of(catalogue)
        body = cls(stage="T2/N1", note=b"\x00", **made)
        old_values.append(Codec(catalogue, Dictionaries()).encode(meta_of(body), body, key))
    newest = package.released(V3, UPCASTS)
    assert newest.problems() == []
    reader, cls = Codec(newest, Dictionaries()), class_of(newest)
    tnm = sys.modules[cls.__module__].Tnm
    first, second = (reader.unseal(reader.open(value), key) for value in old_values)
    assert first == cls(stage="t2/n1", note=b"\x00", tnm=tnm(t="T2", n="N1"), sites=(tnm(t="T2", n="N1"),))
    assert second == cls(stage="T2/N1", note=b"\x00", tnm=tnm(), sites=(tnm(),))
    assert reader.open(old_values[0]).meta.version == 1


def test_an_old_version_is_not_written_any_more(package: Package) -> None:
    package.released(V1)
    catalogue = package.released(V2, UPCASTS.replace(', ("Staged", 2): v2_to_v3', ""))
    body = class_of(catalogue)(stage="", note=b"")
    with pytest.raises(UnknownSchema, match="take the class's version"):
        Codec(catalogue, Dictionaries()).encode(meta_of(body, version=1), body, data_key())


def test_a_step_that_fails_makes_the_event_poison(package: Package) -> None:
    key = data_key()
    old = package.released(V1)
    body = class_of(old)(stage="T1/N0", note=b"")
    value = Codec(old, Dictionaries()).encode(meta_of(body), body, key)
    newest = package.released(V2, "def f(body):\n    return body['nothing']\nupcasts = {('Staged', 1): f}\n")
    reader = Codec(newest, Dictionaries())
    with pytest.raises(Poison, match="report this release"):
        reader.unseal(reader.open(value), key)


def test_a_release_is_never_written_over(package: Package) -> None:
    package.released(V1)
    path = package.folder / "Staged.v1.avsc"
    before = path.read_text()
    catalogue = package.released(V1.replace("stage: str", "stage: int"))
    assert path.read_text() == before
    assert "changed after its release: make it version 2" in "; ".join(catalogue.problems())
    with pytest.raises(CatalogueError):
        Catalogue.load(package.name)


def test_better_words_in_a_docstring_are_no_change(package: Package) -> None:
    package.released(V1)
    assert package.write(V1.replace("class Staged:", 'class Staged:\n    "Better words."')).problems() == []


@pytest.mark.parametrize(
    ("classes", "upcasts", "words"),
    [
        (V2, "", "upcasts.py does not lift v1 to v2"),
        (V2.replace(" = Tnm()", ""), UPCASTS, "oncology.Staged v2 cannot read v1: tnm: new without a default"),
        (V2.replace("note: bytes", "note: int"), UPCASTS, "v2 cannot read v1: note: written as bytes, read as long"),
        (V3, UPCASTS, "versions [1, 3] have a hole"),
    ],
    ids=["no upcast", "no default", "another type", "a hole"],
)
def test_a_release_that_does_not_fit_is_named(package: Package, classes: str, upcasts: str, words: str) -> None:
    package.released(V1)
    assert words in "; ".join(package.released(classes, upcasts).problems())


def test_a_class_that_is_not_released_is_named(package: Package) -> None:
    assert "is not released" in "; ".join(package.write(V1).problems())


def test_a_class_that_went_back_is_named(package: Package) -> None:
    package.released(V1)
    package.released(V2, UPCASTS)
    assert "older than the released v2" in "; ".join(package.write(V1, UPCASTS).problems())


def test_a_class_that_is_gone_is_named(package: Package) -> None:
    package.released(V1)
    assert "has no class" in "; ".join(package.write("").problems())


def test_a_file_with_an_odd_name_is_named(package: Package) -> None:
    package.released(V1)
    (package.folder / "Staged.avsc").write_text("{}")
    with pytest.raises(CatalogueError, match=r"Staged\.avsc"):
        package.write(V1)


def test_an_upcast_of_an_unknown_event_is_named(package: Package) -> None:
    with pytest.raises(CatalogueError, match="Unheard"):
        package.write(V1, "upcasts = {('Unheard', 1): dict}")


def test_two_schemas_with_one_id_are_named(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epicrisis.codec.catalogue.schema_id", lambda _: 7)
    assert "have the same schema id 7" in "; ".join(package.released(V1).problems())


def test_ids_depend_on_what_is_on_the_wire_and_on_nothing_else() -> None:
    schema: dict[str, Any] = {"type": "record", "name": "a.B", "fields": [{"name": "x", "type": "long"}]}
    documented = {
        "doc": "words",
        **schema,
        "fields": [{"name": "x", "type": {"type": "long", "logicalType": "timestamp-micros"}}],
    }
    assert schema_id(schema) == schema_id(documented) == 836805776
    assert schema_id(schema) != schema_id(json.loads(json.dumps(schema).replace("long", "string")))


def test_an_unknown_id_or_version_says_to_upgrade() -> None:
    catalogue = Catalogue.load()
    with pytest.raises(UnknownSchema, match="upgrade"):
        catalogue.by_id(5)
    with pytest.raises(UnknownSchema, match="upgrade"):
        catalogue.writer("chart.ResourceRecorded", 99)
    assert catalogue.by_id(catalogue.envelope.id) is catalogue.envelope


def test_the_codec_refuses_a_type_without_a_class() -> None:
    with pytest.raises(UnknownSchema):
        codec().unseal(Sealed(meta_of(class_of_chart(), type="chart.Gone"), b""), data_key())


def class_of_chart() -> Any:
    from schemas.chart import ResourceRetracted

    return ResourceRetracted(resource_type="A", resource_id="1", resource_version=1, resource=b"")
