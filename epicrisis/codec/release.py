"""Releasing: the newest schema of a class becomes a file, which never changes again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from epicrisis.codec.catalogue import Catalogue


def release_all(catalogue: Catalogue) -> Iterator[Path]:
    """Write ``<Event>.v<N>.avsc`` for every class whose version has none; the paths written."""
    for kind in catalogue.kinds.values():
        if kind.cls is None or kind.cls.__event_version__ in kind.releases:
            continue
        path = kind.folder / f"{kind.cls.__name__}.v{kind.cls.__event_version__}.avsc"
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(kind.shape.schema, indent=2, ensure_ascii=False) + "\n")
        yield path
