"""Compression: zstd (RFC 8878) with the shipped dictionary for the resource type.

``dictionaries/index.toml`` lists the files with their SHA-256; ``train.py`` makes them. A frame names its dictionary
by id, so every dictionary ever shipped stays, and new bodies take the newest version of theirs.
"""

from __future__ import annotations

import hashlib
import threading
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from epicrisis.errors import CatalogueError, Poison, Refused

FOLDER = Path(__file__).with_name("dictionaries")

MAX_BODY = 16 * 1024 * 1024
"""The longest body, before compression: checked before anything is allocated for it."""


@dataclass(frozen=True, slots=True)
class Dictionary:
    """One trained dictionary; without ``types`` it is for all that no other is for."""

    name: str
    version: int
    id: int
    types: tuple[str, ...]
    data: zstandard.ZstdCompressionDict


class _Local(threading.local):
    """zstandard's objects are not thread-safe: each thread has its own, on the shared, prepared dictionaries."""

    def __init__(self) -> None:
        self.compressors: dict[str, zstandard.ZstdCompressor] = {}
        self.decompressors: dict[int, zstandard.ZstdDecompressor] = {}


class Dictionaries:
    """Compresses and decompresses bodies. Share one between threads."""

    def __init__(
        self, dictionaries: Iterable[Dictionary] = (), parameters: zstandard.ZstdCompressionParameters | None = None
    ) -> None:
        self._parameters = parameters or compression({})
        self._by_id = {one.id: one for one in dictionaries}
        self._by_type: dict[str, Dictionary] = {}
        self._general: Dictionary | None = None
        for one in sorted(self._by_id.values(), key=lambda one: one.version):
            one.data.precompute_compress(compression_params=self._parameters)
            self._by_type |= dict.fromkeys(one.types, one)
            if not one.types:
                self._general = one
        self._local = _Local()

    @classmethod
    def load(cls, folder: Path = FOLDER) -> Dictionaries:
        """The dictionaries of this release; none where the folder has no index.

        Raises
        ------
        CatalogueError
            A file is not what the index says.
        """
        path = folder / "index.toml"
        if not path.exists():
            return cls()
        index = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls([_read(folder, entry) for entry in index["dictionary"]], compression(index.get("parameters", {})))

    def compress(self, body: bytes, resource_type: str = "") -> bytes:
        """One zstd frame that says its size and its dictionary.

        Raises
        ------
        Refused
            The body is over 16 MiB.
        """
        if len(body) > MAX_BODY:
            raise Refused(f"an entry is {len(body)} bytes long, and at most {MAX_BODY} are kept: send it in parts")
        compressors = self._local.compressors
        return (compressors.get(resource_type) or self._compressor(resource_type)).compress(body)

    def decompress(self, frame: bytes) -> bytes:
        """What was compressed, up to 16 MiB.

        Raises
        ------
        Poison
            No frame of ours, its dictionary is not in this release, or it is (or says it is) larger.
        """
        try:
            parameters = zstandard.get_frame_parameters(frame)
            if parameters.content_size > MAX_BODY:  # also where it says no size at all
                raise Poison("the body says it is over 16 MiB: nothing of ours is", "too_large")
            decompressors = self._local.decompressors
            decompressor = decompressors.get(parameters.dict_id) or self._decompressor(parameters.dict_id)
            return decompressor.decompress(frame, allow_extra_data=False)
        except zstandard.ZstdError:
            raise Poison("the body is not one whole zstd frame: report this release", "bad_frame") from None

    def _compressor(self, resource_type: str) -> zstandard.ZstdCompressor:
        chosen = self._by_type.get(resource_type, self._general)
        name = resource_type if resource_type in self._by_type else ""
        made = self._local.compressors.get(name)
        if made is None:
            data = chosen.data if chosen else None
            made = zstandard.ZstdCompressor(dict_data=data, compression_params=self._parameters)
            self._local.compressors[name] = made
        return made

    def _decompressor(self, id: int) -> zstandard.ZstdDecompressor:
        if id and id not in self._by_id:
            raise Poison(f"zstd dictionary {id} is not in this release: upgrade first", "unknown_dictionary")
        made = zstandard.ZstdDecompressor(dict_data=self._by_id[id].data if id else None)
        self._local.decompressors[id] = made
        return made


def compression(parameters: Mapping[str, int]) -> zstandard.ZstdCompressionParameters:
    """The compressor's parameters; every frame says its size and its dictionary, the seal is checksum enough."""
    flags: dict[str, Any] = {"write_content_size": True, "write_checksum": False, "write_dict_id": True}
    if not parameters:
        return zstandard.ZstdCompressionParameters.from_level(3, **flags)
    return zstandard.ZstdCompressionParameters(**parameters, **flags)


def _read(folder: Path, entry: Mapping[str, Any]) -> Dictionary:
    data = (folder / entry["file"]).read_bytes()
    made = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
    if hashlib.sha256(data).hexdigest() != entry["sha256"] or made.dict_id() != entry["id"]:
        raise CatalogueError(f"the zstd dictionary {entry['file']} is not the one that was shipped: install again")
    return Dictionary(entry["name"], entry["version"], entry["id"], tuple(entry["types"]), made)
