"""The code tables beside this module (`data/*.toml`), read once."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any


@cache
def table(name: str) -> dict[str, Any]:
    """The content of `data/<name>.toml`."""
    return tomllib.loads((resources.files("epicrisis.simulate") / "data" / f"{name}.toml").read_text("utf-8"))
