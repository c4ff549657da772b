"""What checkpoints are made of, in the cluster database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg

from epicrisis.audit.records import Stored
from epicrisis.database import Database
from epicrisis.event import SLICES
from epicrisis.sql import array, queries

_SQL = queries("epicrisis.audit")
PART = 4_000
"""So many batches of entries of a partition are read at once."""


class PostgresRecordStore:
    """See `RecordStore`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def transaction(self) -> Iterator[PostgresRecords]:
        with self.database.transaction() as cur:
            yield PostgresRecords(cur)

    def close(self) -> None:
        self.database.close()


class PostgresRecords:
    """See `Records`."""

    def __init__(self, cur: psycopg.Cursor[Any]) -> None:
        self.cur = cur

    def _one(self, name: str, **parameters: Any) -> Any:
        row = self.cur.execute(_SQL[name], parameters).fetchone()
        return None if row is None else row[0]

    def lock(self) -> None:
        self.cur.execute(_SQL["lock"])

    def head(self, number: int | None = None, *, trusted: bool = False) -> Stored | None:
        row = self.cur.execute(_SQL["head"], {"number": number, "trusted": trusted}).fetchone()
        return None if row is None else Stored(*row)

    def add_head(self, number: int, entry: str) -> None:
        self.cur.execute(_SQL["add_head"], {"number": number, "entry": entry})

    def trust(self, number: int, sizes: Mapping[int, int]) -> None:
        before = self.head(trusted=True)
        self.cur.execute(_SQL["trust"], {"number": number})
        for name in ("forget_buckets", "forget_shelves"):
            self.cur.execute(_SQL[name], {"head": number, "before": -1 if before is None else before.number})
        for tree, size in sizes.items():
            self.cur.execute(_SQL["forget_notes"], {"tree": tree, "size": size})

    def entries(self, partition: int, first: int) -> list[tuple[int, bytes]]:
        self.cur.execute(_SQL["entries"], {"partition": partition, "first": first, "limit": PART})
        return self.cur.fetchall()

    def accesses(self, partition: int, partitions: int, first: int, last: int) -> list[int]:
        slices = array(range(partition, SLICES, partitions))
        self.cur.execute(_SQL["accesses"], {"slices": slices, "first": first, "last": last})
        return [leaf for (leaf,) in self.cur]

    def tile(self, tree: int, level: int, number: int) -> bytes:
        return self._one("tile", tree=tree, level=level, number=number) or b""

    def add_tiles(self, tree: int, added: Mapping[tuple[int, int], bytes]) -> None:
        self.cur.executemany(
            _SQL["add_tile"],
            [{"tree": tree, "level": level, "number": n, "hashes": raw} for (level, n), raw in added.items()],
        )

    def buckets(self, numbers: Collection[int], head: int) -> Mapping[int, bytes]:
        return dict(self.cur.execute(_SQL["buckets"], {"numbers": list(numbers), "head": head}).fetchall())

    def shelves(self, numbers: Collection[int], head: int) -> Mapping[int, bytes]:
        return dict(self.cur.execute(_SQL["shelves"], {"numbers": list(numbers), "head": head}).fetchall())

    def save_map(self, head: int, buckets: Mapping[int, bytes], shelves: Mapping[int, bytes]) -> None:
        trusted = self.head(trusted=True)
        for name, parts in (("buckets", buckets), ("shelves", shelves)):
            numbers = list(parts)
            self.cur.execute(
                _SQL[f"drop_{name}"], {"numbers": numbers, "trusted": -1 if trusted is None else trusted.number}
            )
            self.cur.execute(_SQL[f"add_{name}"], {"numbers": numbers, "contents": list(parts.values()), "head": head})

    def note(self, tree: int, size: int) -> str | None:
        return self._one("note", tree=tree, size=size)  # type: ignore[no-any-return]

    def add_note(self, tree: int, size: int, note: str) -> None:
        self.cur.execute(_SQL["add_note"], {"tree": tree, "size": size, "note": note})

    def cosign(self, tree: int, size: int, lines: str) -> None:
        self.cur.execute(_SQL["cosign"], {"tree": tree, "size": size, "lines": lines})

    def file(self, digest: str) -> str | None:
        return self._one("file", digest=digest)  # type: ignore[no-any-return]

    def add_file(self, digest: str, content: str) -> None:
        self.cur.execute(_SQL["add_file"], {"digest": digest, "content": content})

    def keys(self, now: datetime, current: Collection[str] = ()) -> list[tuple[str, datetime, datetime | None]]:
        if current:
            self.cur.execute(_SQL["end_keys"], {"now": now, "keys": list(current)})
            for key in current:
                self.cur.execute(_SQL["add_key"], {"now": now, "key": key})
        return self.cur.execute(_SQL["keys"]).fetchall()

    def witnessed(self, witness: str) -> Mapping[int, int]:
        return dict(self.cur.execute(_SQL["witnessed"], {"witness": witness}).fetchall())

    def save_witnessed(self, witness: str, tree: int, size: int) -> None:
        self.cur.execute(_SQL["save_witnessed"], {"witness": witness, "tree": tree, "size": size})
