"""Files: JSON and NDJSON, plain and gzip, with caps."""

import gzip
from pathlib import Path

import pytest

from epicrisis.errors import Malformed
from epicrisis.fhir.limits import Limits
from epicrisis.fhir.read import Document, open_documents


def write(folder: Path, name: str, raw: bytes) -> Path:
    (folder / name).write_bytes(raw)
    return folder / name


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a"])
@pytest.mark.parametrize("zipped", [False, True])
def test_any_other_file_is_one_document(tmp_path: Path, name: str, zipped: bool) -> None:
    raw = b'{"a":\n1}\n'
    path = write(tmp_path, name, gzip.compress(raw) if zipped else raw)
    assert list(open_documents(path)) == [Document(name=name, line=None, raw=raw)]


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz"])
@pytest.mark.parametrize("zipped", [False, True])
def test_ndjson_is_a_document_a_line(tmp_path: Path, name: str, zipped: bool) -> None:
    raw = b'{"a":1}\r\n\n  \n{"b":2}'
    path = write(tmp_path, name, gzip.compress(raw) if zipped else raw)
    found = list(open_documents(path))
    assert [(d.line, d.raw) for d in found] == [(1, b'{"a":1}'), (4, b'{"b":2}')]
    assert found[1].place == f"{name} line 4"


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    zipped = gzip.compress(bytes(range(256)) * 100)
    for damaged in (zipped[:-20], zipped[:5], zipped[:40] + b"\xff" * 20 + zipped[60:], zipped[:-8] + b"12345678"):
        path = write(tmp_path, "cut.json.gz", damaged)
        with pytest.raises(Malformed, match="cut off or damaged") as refusal:
            list(open_documents(path))
        assert refusal.value.where == "cut.json.gz"


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path, "bomb.json.gz", gzip.compress(bytes(20_000_000)))
    with pytest.raises(Malformed, match="larger than the 1,000 bytes"):
        list(open_documents(path, Limits(bundle=1_000)))
    path = write(tmp_path, "bomb.ndjson.gz", gzip.compress(b"x\n" * 1_000_000))
    with pytest.raises(Malformed, match="holds more than the 1,000 bytes"):
        list(open_documents(path, Limits(file=1_000)))


def test_a_large_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)  # sparse
    with pytest.raises(Malformed, match="larger than the 16,777,216 bytes"):
        list(open_documents(path))


def test_a_long_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ndjson", b"{}\n" + b"x" * 99 + b"\n")
    with pytest.raises(Malformed, match=r"a\.ndjson line 2: the line is larger"):
        list(open_documents(path, Limits(bundle=50)))


def test_an_empty_file_is_a_document_for_the_gate_to_refuse(tmp_path: Path) -> None:
    assert next(open_documents(write(tmp_path, "a.json", b""))).raw == b""
    assert list(open_documents(write(tmp_path, "a.ndjson", b""))) == []
