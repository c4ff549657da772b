"""What a history is made of: chains, entries, the map of all subjects, heads. See docs/explanation/proof.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from .merkle import HASH, Wrong, leaf_hash, root_from_inclusion
from .note import b64, unb64

BUCKETS = 65_536
MEMBER = 64
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_NUMBER = r"0|[1-9][0-9]{0,18}"


# Chains


def first_link(subject: UUID) -> bytes:
    """The link before a subject's first event."""
    return sha256(b"epicrisis chain v1" + subject.bytes).digest()


def next_link(link: bytes, digest: bytes) -> bytes:
    """The link of an event by the SHA-256 of its record value."""
    return sha256(link + digest).digest()


def entry_of(subject: UUID, n: int, link: bytes) -> bytes:
    """The entry of an event in its partition's tree."""
    return subject.bytes + n.to_bytes(8, "big") + link


# The map


def key_of(subject: UUID) -> bytes:
    """Where a subject is in the map."""
    return sha256(subject.bytes).digest()


def value_of(n: int, link: bytes) -> bytes:
    """What the map says of a subject: how many events, and the last link."""
    return sha256(n.to_bytes(8, "big") + link).digest()


def value_in(root: bytes, subject: UUID, bucket: bytes, path: Sequence[bytes]) -> bytes | None:
    """What the map with this root says of a subject, None where it is not in it, by its whole bucket.

    Raises
    ------
    Wrong
        This is not the subject's bucket of that map.
    """
    key = key_of(subject)
    number = int.from_bytes(key[:2], "big")
    keys = [bucket[at : at + HASH] for at in range(0, len(bucket), MEMBER)]
    if len(bucket) % MEMBER or any(one[:2] != key[:2] for one in keys) or sorted(set(keys)) != keys:
        raise Wrong("the part of the map of all patients is not in order")
    if root_from_inclusion(leaf_hash(bucket), number, BUCKETS, path) != root:
        raise Wrong("the part of the map of all patients is not that of the checkpoint")
    if key not in keys:
        return None
    at = keys.index(key) * MEMBER
    return bucket[at + HASH : at + MEMBER]


# Heads


@dataclass(frozen=True)
class Head:
    """What one checkpoint of the cluster says: an entry in the log of heads.

    ``trees``: size and root per log partition. ``files``: SHA-256 of what the cluster published with it, by name.
    """

    time: str
    trees: tuple[tuple[int, bytes], ...]
    subjects: int
    map: bytes
    access: tuple[int, bytes]
    files: Mapping[str, str]

    def __str__(self) -> str:
        lines = ["epicrisis head v1", f"time {self.time}"]
        lines += [f"partition {n} {size} {b64(root)}" for n, (size, root) in enumerate(self.trees)]
        lines += [f"subjects {self.subjects} {b64(self.map)}", f"access {self.access[0]} {b64(self.access[1])}"]
        lines += [f"file {name} {self.files[name]}" for name in sorted(self.files)]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> Head:
        """From an entry of the log of heads; only what `str` writes is one.

        Raises
        ------
        Wrong
            It is not one.
        """
        trees: list[tuple[int, bytes]] = []
        found: dict[str, tuple[int, bytes]] = {}
        files: dict[str, str] = {}
        time = ""
        for line in text.split("\n"):
            if match := re.fullmatch(rf"time ({_TIME})", line):
                time = match[1]
            elif match := re.fullmatch(rf"partition [0-9]{{1,4}} ({_NUMBER}) (\S+)", line):
                trees.append((int(match[1]), unb64(match[2])))
            elif match := re.fullmatch(rf"(subjects|access) ({_NUMBER}) (\S+)", line):
                found[match[1]] = int(match[2]), unb64(match[3])
            elif match := re.fullmatch(r"file ([a-z.]{1,40}) ([0-9a-f]{64})", line):
                files[match[1]] = match[2]
        if found.keys() < {"subjects", "access"}:
            raise Wrong("the head is not one")
        head = cls(time, tuple(trees), *found["subjects"], found["access"], files)
        if str(head) != text:
            raise Wrong("the head is not one")
        return head
