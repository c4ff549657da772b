"""The published language: classes, released schemas and ids agree, and everything ever released can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastavro.schema import load_schema, to_parsing_canonical_form

import schemas
from epicrisis.codec import Catalogue
from epicrisis.codec.catalogue import schema_id, undocumented
from epicrisis.codec.compatibility import incompatibilities
from epicrisis.codec.envelope import SCHEMA_ID
from epicrisis.codec.shape import shape

CATALOGUE = Catalogue.read()
KINDS = list(CATALOGUE.kinds.values())


def test_nothing_is_wrong_with_the_catalogue() -> None:
    assert CATALOGUE.problems() == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_the_class_is_its_newest_release(kind: object) -> None:
    assert kind in KINDS
    for known in KINDS:
        if known is kind:
            newest = known.releases[known.newest]
            assert known.cls.__event_version__ == newest.version
            assert undocumented(shape(known.cls).schema) == undocumented(newest.schema)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_release_reads_all_older_ones(kind: object) -> None:
    for known in KINDS:
        if known is kind:
            for version, release in known.releases.items():
                for older in range(1, version):
                    assert incompatibilities(release.schema, known.releases[older].schema) == []


def test_ids_never_change() -> None:
    """Records on topics carry the envelope's id for ever: if this fails, the change breaks every record."""
    assert CATALOGUE.envelope.id == SCHEMA_ID == 1822176698


def test_no_two_schemas_share_an_id() -> None:
    forms: dict[int, str] = {}
    for release in (CATALOGUE.envelope, *CATALOGUE.releases()):
        assert 0 < release.id < 2**31
        assert release.id == schema_id(release.schema)
        form = to_parsing_canonical_form(release.schema)
        assert forms.setdefault(release.id, form) == form


def test_every_released_file_is_avro_and_in_the_catalogue() -> None:
    root = Path(schemas.__path__[0])
    files = sorted(root.rglob("*.avsc"))
    for path in files:
        load_schema(str(path))
    assert len(files) == 1 + sum(len(kind.releases) for kind in KINDS)
