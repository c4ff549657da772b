"""Export: a patient's whole history with everything that proves it, as one file that is checked offline."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from epicrisis.audit import subjects
from epicrisis.audit.chain import first_link, next_link
from epicrisis.audit.checkpoint import KEYS, POLICY, SCHEMAS
from epicrisis.audit.records import HEADS, Records, Stored
from epicrisis.audit.tiles import Tree
from epicrisis.audit.verifier import bundle, page
from epicrisis.audit.verifier.check import FORMAT, PAGE, Verdict, examined
from epicrisis.audit.verifier.envelope import Envelope
from epicrisis.audit.verifier.history import Head, value_in, value_of
from epicrisis.audit.verifier.merkle import Wrong
from epicrisis.audit.verifier.note import Note, Policy, b64
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
        _check_columns(verdict, history)
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
    _check_chain(history, subject)
    known = [] if value is None else _known(history, value)
    heads = Tree(lambda level, n: at.tile(HEADS, level, n))
    note = _note(at, HEADS, stored.number + 1)
    texts = {name: _published(at, head, name) for name in (KEYS, POLICY, SCHEMAS)}
    policy = Policy.parse(texts[POLICY])
    origin = note.checkpoint.origin
    about = {
        "format": FORMAT,
        "subject": str(subject),
        "origin": origin,
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
        "checkpoint.txt": str(_named_only(note, policy, origin)),
        "partition.txt": str(_named_only(_note(at, partition, size), policy, origin)) if known else "",
    }


def _check_chain(history: Sequence[Entry], subject: UUID) -> None:
    """Of all that the ledger has, also what the checkpoint does not know yet."""
    link = first_link(subject)
    for n, entry in enumerate(history, 1):
        link = next_link(link, entry.value)
        if (entry.n, entry.link) != (n, link):
            raise Wrong(f"the ledger's chain is broken at event {n}")


def _known(history: Sequence[Entry], value: bytes) -> Sequence[Entry]:
    """What the checkpoint knew of this history."""
    for count in range(len(history), 0, -1):
        if value_of(count, history[count - 1].link) == value:
            return history[:count]
    raise Wrong("the checkpoint has another history of this patient than the ledger")


def _check_columns(verdict: Verdict, history: Sequence[Entry]) -> None:
    """That what the ledger says beside each record is what the record says."""
    for event, entry in zip(verdict.events, history, strict=False):
        envelope = event.envelope or Envelope.parse(entry.value)
        if (entry.source, entry.seq, entry.recorded) != (envelope.source, envelope.seq, envelope.recorded):
            raise Wrong(f"the ledger's row of event {event.n} does not say what the event says")


def _events(at: Records, known: Sequence[Entry], partition: int, size: int, erased: bool) -> str:
    tree = Tree(lambda level, n: at.tile(partition, level, n))
    lines = []
    for entry in known:
        if entry.leaf is None:
            raise Wrong(f"event {entry.n} was archived by a release that made no entries")
        if not 0 <= entry.leaf < size:
            raise Wrong(f"event {entry.n} is said to be at a place that its partition had not reached")
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


def _named_only(note: Note, policy: Policy, origin: str) -> Note:
    """With the signatures of those whom the policy names, in its order."""
    raw = {(name, raw[:4]): raw for name, raw in note.lines}
    places = [(key.name, key.id) for key in policy.keys_of(origin, note.checkpoint.origin)]
    return Note(note.checkpoint, tuple((place[0], raw[place]) for place in places if place in raw))


def _published(at: Records, head: Head, name: str) -> str:
    text = at.file(head.files[name]) if name in head.files else None
    if text is None:
        raise Wrong(f"{name}, which it names, is gone")
    return text


def _b64(hashes: Sequence[bytes]) -> list[str]:
    return [b64(one) for one in hashes]
