"""Export: a patient's whole history with everything that proves it, as one file that is checked offline."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from epicrisis.audit import subjects
from epicrisis.audit.checkpoint import KEYS, POLICY, SCHEMAS
from epicrisis.audit.records import HEADS, Records, Stored
from epicrisis.audit.tiles import Tree
from epicrisis.audit.verifier import bundle, page
from epicrisis.audit.verifier.check import FORMAT, PAGE, Verdict, examined
from epicrisis.audit.verifier.history import Head, value_in, value_of
from epicrisis.audit.verifier.merkle import Wrong
from epicrisis.audit.verifier.note import Note, Policy, b64, signature_line
from epicrisis.errors import Refused
from epicrisis.ledger import Entry


def export(
    at: Records, history: Sequence[Entry], subject: UUID, *, partition: int, erased: bool = False
) -> tuple[bytes, Verdict]:
    """The bundle of a subject as of the newest trusted checkpoint, and what is proved by it.

    ``history``: what the ledger has of the subject, all of it; what came after the checkpoint is left out. ``erased``:
    its key is gone, so only the hashes of its records go along.

    Raises
    ------
    Refused
        There is no trusted checkpoint yet, or ledger and checkpoint do not agree.
    """
    stored = at.head(trusted=True)
    if stored is None:
        raise Refused("there is no checkpoint yet that enough witnesses have cosigned: see `epicrisis checkpoint`")
    try:
        texts = _texts(at, stored, history, subject, partition, erased)
        verdict = examined(texts)
    except Wrong as problem:
        raise Refused(f"the ledger and its checkpoint {stored.number} do not agree: {problem}") from None
    texts[PAGE] = page.render(verdict, Policy.parse(texts[POLICY]))
    return bundle.write({name: text.encode() for name, text in texts.items()}), verdict


def _texts(
    at: Records, stored: Stored, history: Sequence[Entry], subject: UUID, partition: int, erased: bool
) -> dict[str, str]:
    head = Head.parse(stored.entry)
    number, bucket_path = subjects.proof(lambda some: at.shelves(some, stored.number), subject)
    bucket = at.buckets([number], stored.number).get(number, b"")
    value = value_in(head.map, subject, bucket, bucket_path)
    known = [] if value is None else _known(history, value)
    heads = Tree(lambda level, n: at.tile(HEADS, level, n))
    note = _note(at, HEADS, stored.number + 1)
    texts = {name: _published(at, head, name) for name in (KEYS, POLICY, SCHEMAS)}
    about = {
        "format": FORMAT,
        "subject": str(subject),
        "origin": note.checkpoint.origin,
        "head": stored.number,
        "head_path": _b64(heads.inclusion(stored.number, stored.number + 1)),
        "partition": partition if known else None,
        "bucket": b64(bucket),
        "bucket_path": _b64(bucket_path),
    }
    size = head.trees[partition][0]
    return {
        **texts,
        PAGE: "",
        "history.json": bundle.dumped(about) + "\n",
        "events.ndjson": _events(at, known, partition, size, erased),
        "head.txt": stored.entry,
        "checkpoint.txt": str(_named_only(note, texts)),
        "partition.txt": str(_named_only(_note(at, partition, size), texts)) if known else "",
    }


def _known(history: Sequence[Entry], value: bytes) -> Sequence[Entry]:
    """What the checkpoint knew of this history."""
    for count in range(len(history), 0, -1):
        if value_of(count, history[count - 1].link) == value:
            return history[:count]
    raise Wrong("the checkpoint has another history of this patient than the ledger")


def _events(at: Records, known: Sequence[Entry], partition: int, size: int, erased: bool) -> str:
    tree = Tree(lambda level, n: at.tile(partition, level, n))
    lines = []
    for entry in known:
        if entry.leaf is None:
            raise Wrong(f"event {entry.n} was archived by a release that made no entries")
        one = {"leaf": entry.leaf, "path": _b64(tree.inclusion(entry.leaf, size))}
        if erased:
            lines.append(bundle.dumped({**one, "digest": b64(sha256(entry.value).digest())}) + "\n")
        else:
            lines.append(bundle.dumped({**one, "value": b64(entry.value)}) + "\n")
    return "".join(lines)


def _note(at: Records, tree: int, size: int) -> Note:
    text = at.note(tree, size)
    if text is None:
        raise Wrong("its signatures are gone")
    return Note.parse(text)


def _named_only(note: Note, texts: dict[str, str]) -> Note:
    """Without signatures of witnesses that the policy no longer names."""
    policy = Policy.parse(texts[POLICY])
    origin = note.checkpoint.origin
    keys = {(key.name, key.id) for key, _ in policy.witnesses.values()}
    keys |= {(key.name, key.id) for key in (key.named(origin) for key in policy.logs)}
    lines = "".join(signature_line(name, raw) for name, raw in note.lines if (name, raw[:4]) in keys)
    return Note.parse(f"{note.checkpoint.text}\n{lines}")


def _published(at: Records, head: Head, name: str) -> str:
    text = at.file(head.files[name]) if name in head.files else None
    if text is None:
        raise Wrong(f"{name}, which it names, is gone")
    return text


def _b64(hashes: Sequence[bytes]) -> list[str]:
    return [b64(one) for one in hashes]
