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
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import zstandard

from epicrisis.codec.measure import Row, measure, total
from epicrisis.simulate.corpus import FAMILIES, family, resources
from epicrisis.simulate.corpus.elements import skeletons

FOLDER = Path(__file__).with_name("dictionaries")
VERSION = 1
SEED = 20260601
VISITS = 3000
FREQUENT = 50
"""So many resources of a type, and a report has a line for it."""
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


def report(folder: Path, out: Any = sys.stdout) -> None:
    """Print bytes a resource with and without the shipped dictionaries, by folder and by frequent types."""
    heads = ("resources", "raw B", "zstd B", "+dict B", "gain")
    out.write(f"{'':44}" + "".join(f"{head:>10}" for head in heads) + "\n")
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        if rows := measure(sorted(group.rglob("*.json*"))):
            _line(group.name, rows, out)
            for row in rows:
                if row.resources >= FREQUENT:
                    _line(f"  {row.resource_type}", [row], out)


def _line(name: str, rows: Sequence[Row], out: Any) -> None:
    means = total(rows)
    sizes = "".join(f"{means[key]:>10.0f}" for key in ("raw", "plain", "packed"))
    out.write(f"{name:44}{means['resources']:>10}{sizes}{means['gain']:>10.0%}\n")


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
