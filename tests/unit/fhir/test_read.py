"""Files: JSON and NDJSON, plain and gzip, with caps."""

import gzip
import tracemalloc
from pathlib import Path
from random import Random

import pytest

from epicrisis.errors import Malformed, TooLarge
from epicrisis.fhir.limits import Limits
from epicrisis.fhir.read import Body, Document, open_documents


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


@pytest.mark.parametrize("zipped", [False, True])
def test_how_far_a_file_was_read_is_told_on_the_way(tmp_path: Path, zipped: bool) -> None:
    lines = b"\n".join(b'"%s"' % Random(n).randbytes(5_000).hex().encode() for n in range(100))
    path = write(tmp_path, "a.ndjson", gzip.compress(lines) if zipped else lines)
    told: list[int] = []
    at = [sum(told) for _ in open_documents(path, on_read=told.append)]
    assert at[0] < at[50] < at[-1] == path.stat().st_size


def test_a_long_line_ends_its_file_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ndjson", b"1\n" + b"x" * 99 + b"\n2")
    found = open_documents(path, Limits(bundle=50))
    assert next(found).raw == b"1"
    with pytest.raises(TooLarge, match="what follows it was not read"):
        next(found)


def test_a_line_of_blanks_without_end_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ndjson.gz", gzip.compress(b" " * 30_000_000 + b"\n{}"))
    with pytest.raises(TooLarge, match=r"a\.ndjson\.gz line 1: the line is larger"):
        list(open_documents(path))


def body(raw: bytes, piece: int, cap: int = 1_000_000, *, zipped: bool = False) -> bytes:
    made = Body(cap, zipped=zipped)
    for start in range(0, len(raw), piece):
        made.add(raw[start : start + piece])
    return made.whole()


@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_a_body_comes_out_as_it_was_whatever_the_pieces(piece: int) -> None:
    raw = bytes(range(256)) * 40
    members = gzip.compress(raw[:99]) + gzip.compress(b"") + gzip.compress(raw[99:]) + bytes(9)
    assert body(raw, piece) == raw
    assert body(members, piece, zipped=True) == raw
    assert body(b"", piece, zipped=True) == b""


def test_a_body_is_refused_at_the_first_byte_too_many() -> None:
    assert body(b"x" * 1_000, 100, 1_000) == b"x" * 1_000
    made = Body(1_000)
    made.add(b"x" * 1_000)
    with pytest.raises(TooLarge, match="larger than the 1,000 bytes"):
        made.add(b"x")


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        body(bomb, len(bomb), zipped=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
    with pytest.raises(TooLarge):  # nothing comes out of it, for ever
        body(gzip.compress(b"") * 100_000, 65_536, zipped=True)


@pytest.mark.parametrize("damage", [slice(-20), slice(5), slice(1, None)])
def test_a_damaged_body_is_refused(damage: slice) -> None:
    with pytest.raises(Malformed, match="cut off or damaged"):
        body(gzip.compress(bytes(range(256)) * 100)[damage], 64, zipped=True)
    with pytest.raises(Malformed, match="cut off or damaged"):
        body(gzip.compress(b"{}") + b"tail", 64, zipped=True)


def test_an_empty_file_is_a_document_for_the_gate_to_refuse(tmp_path: Path) -> None:
    assert next(open_documents(write(tmp_path, "a.json", b""))).raw == b""
    assert list(open_documents(write(tmp_path, "a.ndjson", b""))) == []
