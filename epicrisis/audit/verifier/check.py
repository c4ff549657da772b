"""Checks an exported history: is each event what was logged, in its order, are they all, and who says so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from . import bundle, page
from .envelope import Envelope
from .history import Head, entry_of, first_link, next_link, value_in, value_of
from .merkle import Wrong, leaf_hash, root_from_inclusion
from .note import ED25519, Checkpoint, Key, Note, Policy, unb64

FORMAT = "epicrisis history v1"
PAGE = "index.html"
PUBLISHED = ("keys.txt", "policy.txt", "schemas.json")
_MEMBERS = {"format", "subject", "origin", "head", "head_path", "partition", "bucket", "bucket_path"}
_EVENT = ({"leaf", "path", "value"}, {"leaf", "path", "digest"})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATED = re.compile(r"(\S+) from (\S{20})(?: until (\S{20}))?")


@dataclass(frozen=True)
class Event:
    """One event: its link, and its envelope; None where only the hash of its record is in the file (erased)."""

    n: int
    link: bytes
    envelope: Envelope | None


@dataclass(frozen=True)
class Verdict:
    """What has been found true. ``signed``: who, and when by their own account."""

    subject: UUID
    origin: str
    events: tuple[Event, ...]
    head: int
    time: str
    checkpoint: Checkpoint
    partition: Checkpoint | None
    signed: Mapping[Key, int | None]
    trusted: bool
    """Whether the keys are those of a policy that the caller gave, not just those in the file."""


def check(raw: bytes, trusted: Policy | None = None) -> Verdict:
    """Everything about this bundle. ``trusted``: whose signatures count; by default those that it names itself.

    Raises
    ------
    Wrong
        The first thing that does not hold.
    """
    texts = {name: bundle.text(content) for name, content in bundle.read(raw).items()}
    verdict = examined(texts, trusted)
    if texts[PAGE] != page.render(verdict, Policy.parse(texts["policy.txt"])):
        raise Wrong("the page for people does not say what the events say")
    return verdict


def examined(texts: Mapping[str, str], trusted: Policy | None = None) -> Verdict:
    """Everything but the page."""
    about = _about(texts["history.json"])
    subject, origin = UUID(about["subject"]), about["origin"]
    note = Note.parse(texts["checkpoint.txt"])
    head = _head(texts, about, note.checkpoint)
    own = Policy.parse(texts["policy.txt"])
    _check_keys(texts["keys.txt"], own, head.time)
    partition = Note.parse(texts["partition.txt"]) if texts["partition.txt"] else None
    signed = _signed(note, partition, origin, own, trusted)
    value = value_in(head.map, subject, unb64(about["bucket"]), _hashes(about["bucket_path"]))
    lines = texts["events.ndjson"].split("\n")
    if lines.pop():
        raise Wrong("the list of events ends too early")
    place = about["partition"]
    if (place is None) != (not lines) or (partition is None) != (not lines):
        raise Wrong("events without a partition, or a partition without events")
    if lines:
        assert partition is not None
        if not 0 <= place < len(head.trees) or partition.checkpoint != Checkpoint(
            f"{origin}/{place}", *head.trees[place]
        ):
            raise Wrong("the partition's checkpoint is not the one that the cluster's names")
    events = _events(lines, subject, head.trees[place] if lines else (0, b""))
    if value is None and events:
        raise Wrong("the checkpoint knows no events of this patient")
    if value is not None and (not events or value != value_of(len(events), events[-1].link)):
        raise Wrong("these are not all events of this patient, or not only they")
    _check_sequence(events, subject)
    return Verdict(
        subject, origin, events, about["head"], head.time, note.checkpoint,
        partition.checkpoint if partition else None, signed, trusted is not None,
    )  # fmt: skip


def _about(text: str) -> dict[str, Any]:
    found = bundle.loaded(text.removesuffix("\n"))
    if not (
        isinstance(found, dict)
        and found.keys() == _MEMBERS
        and text.endswith("}\n")
        and found["format"] == FORMAT
        and all(isinstance(found[name], str) for name in ("subject", "origin", "bucket"))
        and _UUID.fullmatch(found["subject"])
        and type(found["head"]) is int
        and (found["partition"] is None or type(found["partition"]) is int)
    ):
        raise Wrong(f"{bundle.NOT_A_BUNDLE}: history.json is of another format")
    return found


def _hashes(path: Any) -> list[bytes]:
    if not isinstance(path, list) or len(path) > 64 or not all(isinstance(one, str) for one in path):
        raise Wrong("a proof is not a list of hashes")
    return [unb64(one) for one in path]


def _head(texts: Mapping[str, str], about: Mapping[str, Any], checkpoint: Checkpoint) -> Head:
    """The newest head of the checkpoint, and what was published with it."""
    if about["head"] != checkpoint.size - 1:
        raise Wrong("the head is not the newest one of the checkpoint")
    leaf = leaf_hash(texts["head.txt"].encode())
    if root_from_inclusion(leaf, about["head"], checkpoint.size, _hashes(about["head_path"])) != checkpoint.root:
        raise Wrong("the head is not the one that the checkpoint was signed over")
    head = Head.parse(texts["head.txt"])
    for name in PUBLISHED:
        if head.files.get(name) != sha256(texts[name].encode()).hexdigest():
            raise Wrong(f"{name} is not the one that was published with the checkpoint")
    return head


def _check_keys(text: str, own: Policy, time: str) -> None:
    """That the log's keys were in force, by their published dates."""
    dated: dict[str, tuple[str, str | None]] = {}
    for line in text.split("\n")[:-1]:
        if not (match := _DATED.fullmatch(line)):
            raise Wrong("keys.txt is not a list of keys with their dates")
        dated[match[1]] = match[2], match[3]
    for key in own.logs:
        since, until = dated.get(str(key), ("never", None))
        if not since <= time <= (until or "9"):
            raise Wrong("the checkpoint was made with a key that was not in force")


def _signed(
    note: Note, partition: Note | None, origin: str, own: Policy, trusted: Policy | None
) -> Mapping[Key, int | None]:
    """Who has signed, by the bundle's own policy and by the caller's; a signature of anybody else is not accepted."""
    if note.checkpoint.origin != origin:
        raise Wrong("the checkpoint is of another cluster")
    signed: dict[Key, int | None] = {}
    for one in (note, partition) if partition else (note,):
        tree = one.checkpoint.origin
        named = own.keys_of(origin, tree)
        found = one.signers({*named, *(trusted.keys_of(origin, tree) if trusted else ())})
        if [(key.name, key.id) for key in named if key in found] != [(name, raw[:4]) for name, raw in one.lines]:
            raise Wrong("a checkpoint has signatures of others than are named, or in another order")
        for policy in (own, trusted) if trusted else (own,):
            policy.check(one, origin, found)
        signed = signed or found
    return signed


def _events(lines: Sequence[str], subject: UUID, tree: tuple[int, bytes]) -> tuple[Event, ...]:
    """Each event by its own link and its own place in the partition's tree."""
    size, root = tree
    link, events, places = first_link(subject), list[Event](), set[int]()
    for n, line in enumerate(lines, 1):
        one = bundle.loaded(line)
        if not isinstance(one, dict) or one.keys() not in _EVENT or type(one["leaf"]) is not int:
            raise Wrong(f"event {n} is not in the form of events")
        if not isinstance(one.get("value", one.get("digest")), str):
            raise Wrong(f"event {n} is not in the form of events")
        value = unb64(one["value"]) if "value" in one else None
        digest = unb64(one["digest"]) if value is None else sha256(value).digest()
        if len(digest) != 32:
            raise Wrong(f"event {n} is not in the form of events")
        link = next_link(link, digest)
        try:
            at = root_from_inclusion(leaf_hash(entry_of(subject, n, link)), one["leaf"], size, _hashes(one["path"]))
            envelope = None if value is None else Envelope.parse(value)
        except Wrong as problem:
            raise Wrong(f"event {n}: {problem}") from None
        if at != root or one["leaf"] in places:
            raise Wrong(f"event {n} is not the one that was logged there")
        places.add(one["leaf"])
        events.append(Event(n, link, envelope))
    return tuple(events)


def _check_sequence(events: Collection[Event], subject: UUID) -> None:
    """That every service's own count has no gaps; and that all events are in the file, or (erased) none is."""
    last: Counter[str] = Counter()
    if not any(event.envelope for event in events):
        return
    for event in events:
        if (envelope := event.envelope) is None:
            raise Wrong(
                f"event {event.n} is left out as if it were erased, and others are not: one key sealed them all"
            )
        if envelope.subject != subject:
            raise Wrong(f"event {event.n} is about somebody else")
        if envelope.seq != last[envelope.source] + 1:
            raise Wrong(f"event {event.n}: {envelope.source} had counted to {last[envelope.source]} before")
        last[envelope.source] = envelope.seq


def check_agreement(older: Verdict, newer: Verdict) -> None:
    """That two bundles, each right in itself, tell one story.

    Raises
    ------
    Wrong
        They do not: the log has shown different histories to different people, or changed one.
    """
    if older.origin != newer.origin:
        raise Wrong("the two files are of different clusters")
    for one, other in ((older.checkpoint, newer.checkpoint), (older.partition, newer.partition)):
        if one and other and one.origin == other.origin and one.size == other.size and one.root != other.root:
            raise Wrong("two histories: the log has signed two different trees of the same size")
    if older.subject == newer.subject:
        first, second = sorted((older, newer), key=lambda verdict: verdict.head)
        if [event.link for event in first.events] != [event.link for event in second.events][: len(first.events)]:
            raise Wrong("two histories: the later file does not begin with the events of the earlier one")


def oldest_word(verdict: Verdict) -> datetime:
    """The earliest time that a signature claims: the checkpoint is at least as old as that says."""
    times = [time for key, time in verdict.signed.items() if time is not None and key.type != ED25519]
    return datetime.fromtimestamp(min(times), UTC) if times else datetime.fromisoformat(verdict.time)
