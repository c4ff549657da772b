"""Train the zstd dictionaries for FHIR resources, and report what they gain.

    python -m epicrisis.codec.train                       say what would be made, and whether it is what is shipped
    python -m epicrisis.codec.train --write               write epicrisis/codec/dictionaries/*.zdict and index.toml
    python -m epicrisis.codec.train --report ../data      measure the shipped ones on a folder of FHIR Bundles

A dictionary contains pieces of what it was trained on. So the training reads nobody's files: only our own generator's
typical shapes (`epicrisis.simulate.corpus`), and FHIR's element names for the types that it does not write.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import zstandard

from epicrisis.simulate.corpus import FAMILIES, family, resources
from epicrisis.simulate.corpus.elements import skeletons

FOLDER = Path(__file__).with_name("dictionaries")
VERSION = 1
SEED = 20260601
VISITS = 3000
SAMPLES = 8000  # of a family: more do not help, and cost time
# Ids outside the ranges that the zstd registry reserves, and short enough for two bytes in a frame.
FIRST_ID = 41_000
SIZES = {"observation": 49_152, "report": 49_152, "money": 49_152, "people": 32_768, "general": 65_536}
# Measured on Synthea's patients of 2019 and 2021, bytes per resource: level 3 as it is 229 and 305; with min_match 5
# 218 and 300 at the same speed, as digits and UUIDs hold many accidental matches of four bytes, each dearer than its
# literals; greedy (3) with min_match 6 200 and 284 for half the time more; lazy (4) 197 and 277 for twice that again.
PARAMETERS = {"strategy": 3, "window_log": 17, "hash_log": 15, "chain_log": 15, "search_log": 3, "min_match": 6}


def samples() -> Mapping[str, list[bytes]]:
    """What each family is trained on."""
    made: dict[str, list[bytes]] = {name: [] for name in FAMILIES}
    for kind, body in resources(VISITS, SEED):
        made[family(kind)].append(body)
    for kind, body in skeletons():
        made[family(kind)].append(body)
    return made


def train() -> Mapping[str, bytes]:
    """The dictionaries by family; the same bytes every time, with the same version of zstd."""
    made: dict[str, bytes] = {}
    for number, (name, bodies) in enumerate(samples().items()):
        kept = bodies[:: max(1, len(bodies) // SAMPLES)][:SAMPLES] + ([] if name != "general" else bodies[-150:])
        buffers: list[bytes | bytearray | memoryview[int]] = [*kept]
        trained = zstandard.train_dictionary(SIZES[name], buffers, k=2000, d=8, steps=1, dict_id=FIRST_ID + number)
        made[name] = trained.as_bytes()
    return made


def write(made: Mapping[str, bytes]) -> None:
    """Write the files and their index. A released file is never changed: a new training gets a new version."""
    FOLDER.mkdir(exist_ok=True)
    lines = [
        "# Made by `python -m epicrisis.codec.train --write`. Released files never change: sealed bodies need them.",
        "# `types` are the resource types a dictionary is for; the one without types is for all others.",
        f'zstd = "{".".join(map(str, zstandard.ZSTD_VERSION))}"',
        "",
        "[parameters] # of the compressor; whatever they are, every decompressor reads the result",
        *(f"{key} = {value}" for key, value in PARAMETERS.items()),
    ]
    for name, data in made.items():
        path = FOLDER / f"{name}.v{VERSION}.zdict"
        path.write_bytes(data)
        lines += [
            "",
            "[[dictionary]]",
            f'name = "{name}"',
            f"version = {VERSION}",
            f"id = {zstandard.ZstdCompressionDict(data).dict_id()}",
            f'file = "{path.name}"',
            f"types = {orjson.dumps(FAMILIES[name]).decode()}".replace(",", ", "),
            f"bytes = {len(data)}",
            f'sha256 = "{hashlib.sha256(data).hexdigest()}"',
        ]
    (FOLDER / "index.toml").write_text("\n".join(lines) + "\n", "utf-8")


def index() -> dict[str, Any]:
    """The shipped index."""
    return tomllib.loads((FOLDER / "index.toml").read_text("utf-8"))


def _bodies(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Group, resource type and compact JSON of every resource of every Bundle below a folder."""
    import gzip

    for path in sorted(folder.rglob("*.json*")):
        raw = path.read_bytes()
        try:
            document = orjson.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
        except ValueError:
            continue  # some test folders hold files that are deliberately not JSON
        group = path.relative_to(folder).parts[0]
        entries = document.get("entry") if isinstance(document, dict) else None
        for entry in entries or [{"resource": document}]:
            if isinstance(entry, dict) and isinstance(body := entry.get("resource"), dict) and "resourceType" in body:
                yield group, body["resourceType"], orjson.dumps(body)


def report(folder: Path, out: Any = sys.stdout) -> None:
    """Print bytes and microseconds per resource with and without the shipped dictionaries, by folder and type."""
    parameters = zstandard.ZstdCompressionParameters(
        **PARAMETERS, write_content_size=True, write_checksum=False, write_dict_id=True
    )
    packers: dict[str, zstandard.ZstdCompressor] = {}
    openers: dict[str, zstandard.ZstdDecompressor] = {}
    for entry in index()["dictionary"]:
        shipped = zstandard.ZstdCompressionDict((FOLDER / entry["file"]).read_bytes())
        shipped.precompute_compress(compression_params=parameters)
        packers[entry["name"]] = zstandard.ZstdCompressor(dict_data=shipped, compression_params=parameters)
        openers[entry["name"]] = zstandard.ZstdDecompressor(dict_data=shipped)
    plain = zstandard.ZstdCompressor(level=3, write_content_size=True)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for group, kind, body in _bodies(folder):
        name = family(kind)
        started = time.perf_counter()
        packed = packers[name].compress(body)
        middle = time.perf_counter()
        back = openers[name].decompress(packed)
        ended = time.perf_counter()
        if back != body:
            raise AssertionError("a dictionary does not give back what went in")
        spent[group][0] += middle - started
        spent[group][1] += ended - middle
        for key in ("", "  " + kind):
            row = group + "/" + key
            groups[row].update(n=1, raw=len(body), plain=len(plain.compress(body)), packed=len(packed))
    _table(groups, spent, out)


def _table(groups: Mapping[str, Counter[str]], spent: Mapping[str, list[float]], out: Any) -> None:
    heads = ("resources", "raw B", "zstd B", "+dict B", "gain", "us in", "us out")
    out.write(f"{'':44}" + "".join(f"{head:>10}" for head in heads) + "\n")
    for row, sums in sorted(groups.items(), key=lambda item: (item[0].split("/")[0], -item[1]["n"])):
        group, kind = row.split("/", 1)
        n = sums["n"]
        if kind and n < 50:
            continue
        cells = f"{n:>10}" + "".join(f"{sums[key] / n:>10.0f}" for key in ("raw", "plain", "packed"))
        cells += f"{1 - sums['packed'] / sums['plain']:>10.0%}"
        if not kind:
            cells += "".join(f"{seconds / n * 1e6:>10.1f}" for seconds in spent[group])
        out.write(f"{kind or group:44}{cells}\n")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m epicrisis.codec.train", description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the dictionaries and their index")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="measure the shipped dictionaries on FHIR Bundles"
    )
    options = parser.parse_args()
    if options.report:
        report(options.report)
        return 0
    made = train()
    if options.write:
        write(made)
    for entry in index()["dictionary"] if (FOLDER / "index.toml").exists() else ():
        same = hashlib.sha256(made[entry["name"]]).hexdigest() == entry["sha256"]
        sys.stdout.write(f"{entry['file']:28}{entry['bytes']:>8} bytes  {'as shipped' if same else 'DIFFERS'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
