"""A witness (https://c2sp.org/tlog-witness): remembers the last checkpoint of each log, and cosigns what follows it.

Any operator can run one. It needs no database server and no word of what the log holds: hashes alone pass.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from epicrisis.audit.signing import Signer
from epicrisis.audit.verifier.merkle import HASH, Wrong, check_consistency
from epicrisis.audit.verifier.note import Checkpoint, Key, Note, unb64

MAX_REQUEST = 512 * 1024
MAX_PROOF = 63
TEXT, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"


class Answer(NamedTuple):
    """What HTTP says: a status, a body, its type."""

    status: int
    body: str
    type: str = TEXT


class Witness:
    """Its memory is one SQLite file: checked and written in one transaction, on disk before the answer leaves.

    ``logs``: the keys of the logs that it watches, by their origins; a log's trees (``origin/…``) have the same keys.
    """

    def __init__(
        self, signer: Signer, logs: Collection[Key], file: Path | str, *, now: Callable[[], float] = time.time
    ) -> None:
        self.signer = signer
        self._logs = tuple(logs)
        self._now = now
        self._lock = Lock()
        self._memory = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._memory.execute("PRAGMA synchronous = FULL")
        self._memory.execute(
            "CREATE TABLE IF NOT EXISTS latest (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL)"
        )

    def close(self) -> None:
        """Let the file go."""
        self._memory.close()

    def add_checkpoint(self, raw: bytes) -> Answer:
        """Answer a request of ``POST …/add-checkpoint``."""
        try:
            old, proof, note = _request(raw)
        except (Wrong, UnicodeDecodeError) as problem:
            return Answer(400, f"{problem if isinstance(problem, Wrong) else 'not UTF-8'}\n")
        keys = self._keys(note.checkpoint.origin)
        if not keys:
            return Answer(404, "this log is not known here\n")
        try:
            signed = note.signers(keys)
        except Wrong:
            signed = {}
        if not signed:
            return Answer(403, "not signed by the log\n")
        if old > note.checkpoint.size:
            return Answer(400, "the old size is beyond the new one\n")
        with self._lock, self._transaction():
            return self._follow(old, proof, note)

    def _follow(self, old: int, proof: list[bytes], note: Note) -> Answer:
        new = note.checkpoint
        last = self._last(new.origin)
        size = 0 if last is None else last.size
        if old != size:
            return Answer(409, f"{size}\n", SIZE)
        if last is not None and size == new.size and last.root != new.root:
            return Answer(409, f"{size}\n", SIZE)
        try:
            if size:
                assert last is not None
                check_consistency(size, last.root, new.size, new.root, proof)
            elif proof:
                raise Wrong("there is nothing to be consistent with")
        except Wrong as problem:
            return Answer(422, f"{problem}\n")
        self._memory.execute("INSERT OR REPLACE INTO latest VALUES (?, ?, ?)", (new.origin, new.size, str(note)))
        return Answer(200, self.signer.sign(new, int(self._now())))

    def _last(self, origin: str) -> Checkpoint | None:
        row = self._memory.execute("SELECT note FROM latest WHERE origin = ?", (origin,)).fetchone()
        return None if row is None else Note.parse(row[0]).checkpoint

    def _keys(self, origin: str) -> list[Key]:
        return [key.named(origin) for key in self._logs if origin == key.name or origin.startswith(f"{key.name}/")]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._memory.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._memory.execute("ROLLBACK")
            raise
        self._memory.execute("COMMIT")


def _request(raw: bytes) -> tuple[int, list[bytes], Note]:
    if len(raw) > MAX_REQUEST:
        raise Wrong("the request is too long")
    head, found, note = raw.decode().partition("\n\n")
    first, *lines = head.split("\n")
    word, space, size = first.partition(" ")
    if not found or word != "old" or not space or not _is_size(size) or len(lines) > MAX_PROOF:
        raise Wrong("the request is not an old size, a proof and a checkpoint")
    proof = [unb64(line) for line in lines]
    if any(len(one) != HASH for one in proof):
        raise Wrong("the proof is not made of hashes")
    return int(size), proof, Note.parse(note)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19 and str(int(text)) == text
