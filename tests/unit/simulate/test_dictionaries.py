"""The zstd dictionaries are what the index says, and are made of our own shapes only."""

from __future__ import annotations

import hashlib
import tomllib

import orjson
import pytest
import zstandard

from epicrisis.codec import train
from epicrisis.simulate import messages
from epicrisis.simulate.corpus import family, resources

INDEX = train.index()


@pytest.mark.parametrize("entry", INDEX["dictionary"], ids=lambda entry: entry["file"])
def test_a_file_is_what_the_index_says(entry: dict[str, object]) -> None:
    data = (train.FOLDER / str(entry["file"])).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert zstandard.ZstdCompressionDict(data).dict_id() == entry["id"]


def test_training_again_gives_the_shipped_bytes() -> None:
    if tuple(map(int, INDEX["zstd"].split("."))) != zstandard.ZSTD_VERSION:
        pytest.skip("trained with another version of zstd")
    made = train.train()
    assert {e["name"]: e["sha256"] for e in INDEX["dictionary"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in made.items()
    }


def test_each_id_is_used_once_and_outside_the_reserved_ranges() -> None:
    ids = [entry["id"] for entry in INDEX["dictionary"]]
    assert len(set(ids)) == len(ids)
    assert all(32_768 <= one < 65_536 for one in ids)


def test_simulated_resources_shrink_to_a_quarter() -> None:
    parameters = zstandard.ZstdCompressionParameters(**INDEX["parameters"])
    packers = {
        entry["name"]: zstandard.ZstdCompressor(
            dict_data=zstandard.ZstdCompressionDict((train.FOLDER / entry["file"]).read_bytes()),
            compression_params=parameters,
        )
        for entry in INDEX["dictionary"]
    }
    raw = packed = 0
    for message in messages(40, 9):
        for entry in orjson.loads(message.bundle)["entry"]:
            if "resource" in entry:
                body = orjson.dumps(entry["resource"])
                raw += len(body)
                packed += len(packers[family(entry["resource"]["resourceType"])].compress(body))
    assert packed < raw / 4


def test_the_corpus_is_json_of_the_type_it_says() -> None:
    for kind, body in resources(20, 1):
        assert orjson.loads(body)["resourceType"] == kind


def test_the_index_is_toml() -> None:
    assert tomllib.loads((train.FOLDER / "index.toml").read_text("utf-8"))["dictionary"]
