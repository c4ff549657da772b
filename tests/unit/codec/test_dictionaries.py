from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.codec import Dictionaries
from epicrisis.codec.dictionaries import FOLDER, MAX_BODY
from epicrisis.codec.measure import measure, resources, total
from epicrisis.errors import CatalogueError, Poison, Refused

SHIPPED = Dictionaries.load()
OBSERVATION = (
    b'{"resourceType":"Observation","status":"final","category":[{"coding":[{"system":'
    b'"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],'
    b'"code":{"coding":[{"system":"http://loinc.org","code":"8302-2","display":"Body Height"}]}}'
)


@given(st.binary(max_size=2000), st.sampled_from(["Observation", "Patient", "Claim", "Basic", "", "banana"]))
def test_what_goes_in_comes_out(body: bytes, kind: str) -> None:
    assert SHIPPED.decompress(SHIPPED.compress(body, kind)) == body


def test_the_dictionary_follows_from_the_resource_type_and_the_frame_names_it() -> None:
    kinds = ("Observation", "Patient", "Claim", "DiagnosticReport", "Basic")
    ids = [zstandard.get_frame_parameters(SHIPPED.compress(OBSERVATION, kind)).dict_id for kind in kinds]
    assert len(set(ids)) == len(kinds)
    assert 0 not in ids


def test_a_dictionary_pays() -> None:
    assert len(SHIPPED.compress(OBSERVATION, "Observation")) < len(Dictionaries().compress(OBSERVATION)) * 0.6


def test_unknown_types_cost_no_memory() -> None:
    dictionaries = Dictionaries.load()
    for n in range(1000):
        dictionaries.compress(OBSERVATION, f"Unknown{n}")
    assert len(dictionaries._local.compressors) == 1


def test_threads_do_not_disturb_one_another() -> None:
    def work(n: int) -> bool:
        body = OBSERVATION * (n % 7 + 1)
        kind = ("Observation", "Patient", "Claim")[n % 3]
        return all(SHIPPED.decompress(SHIPPED.compress(body, kind)) == body for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))


def test_a_bomb_is_refused_before_memory_is_taken_for_it() -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(MAX_BODY + 1))
    assert len(bomb) < 2000
    with pytest.raises(Poison, match="over 16 MiB"):
        SHIPPED.decompress(bomb)


def test_a_frame_that_says_no_size_is_refused() -> None:
    made = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    with pytest.raises(Poison, match="over 16 MiB"):
        SHIPPED.decompress(made)


def test_a_frame_that_lies_about_its_size_is_poison() -> None:
    frame = bytearray(zstandard.ZstdCompressor().compress(b"x" * 200))
    at = frame.index(200)
    frame[at] = 100
    with pytest.raises(Poison, match="zstd"):
        SHIPPED.decompress(bytes(frame))


@pytest.mark.parametrize(
    "change", [lambda f: f[:-1], lambda f: f + b"x", lambda f: f + f, lambda _: b"", lambda f: b"y" + f]
)
def test_what_is_not_one_whole_frame_is_poison(change: object) -> None:
    frame = SHIPPED.compress(OBSERVATION, "Observation")
    with pytest.raises(Poison):
        SHIPPED.decompress(change(frame))  # type: ignore[operator]


def test_an_unknown_dictionary_says_to_upgrade() -> None:
    frame = SHIPPED.compress(OBSERVATION, "Observation")
    with pytest.raises(Poison, match="upgrade") as caught:
        Dictionaries().decompress(frame)
    assert caught.value.reason == "unknown_dictionary"


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(Refused, match="send it in parts"):
        SHIPPED.compress(bytes(MAX_BODY + 1))


def test_a_changed_dictionary_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "dictionaries"
    shutil.copytree(FOLDER, folder)
    path = next(folder.glob("observation.*.zdict"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(CatalogueError, match="install again"):
        Dictionaries.load(folder)


def test_without_an_index_there_are_no_dictionaries(tmp_path: Path) -> None:
    empty = Dictionaries.load(tmp_path)
    assert empty.decompress(empty.compress(OBSERVATION, "Observation")) == OBSERVATION


def test_the_gain_on_public_files_is_measured(shared_data: Path) -> None:
    rows = measure(sorted((shared_data / "synthea-2019-r4" / "oncology").glob("*.json.gz"))[:3])
    for row in rows[:8]:
        print(row)
    summary = total(rows)
    print(summary)
    assert sum(row.resources for row in rows) == summary["resources"] > 100
    assert summary["gain"] > 0.2


def test_files_that_are_not_json_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.ndjson").write_text('{"resourceType":"Patient"}\n{"resourceType":"Basic"}\n')
    assert [kind for kind, _ in resources(sorted(tmp_path.iterdir()))] == ["Patient", "Basic"]
